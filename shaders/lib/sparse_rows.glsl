/* SPDX-License-Identifier: Apache-2.0 */
/* Query tokens, counted over the batch, and what they may choose. */

#include "search.glsl"

uint seq_word(uint b)
{
    return header.seqs_word + b * RAPT_STEP_SEQ_WORDS;
}

/* The last sequence that begins at or before a token: others that begin there are empty. */
#define SEQ_BEGIN(b) step_words[seq_word(b) + SEQ_Q_ROW]
uint find_seq(uint token)
{
    FIND_LAST(found, header.n_seqs, SEQ_BEGIN, token)
    return found;
}

uint n_chunks(uint seq)
{
    return (step_words[seq + SEQ_KV_LEN] + push.rapt_sparse_chunk - 1) / push.rapt_sparse_chunk;
}

/* Chunk a position lies in, whether it exists or not; -1 before the first key. */
int chunk_of(uint seq, int position)
{
    int key = position - int(step_words[seq + SEQ_KV_POS0]);
    return key < 0 ? -1 : int(uint(key) / push.rapt_sparse_chunk);
}

/* Chunks that begin at or before a position. */
uint n_candidates(uint seq, int position)
{
    return min(uint(chunk_of(seq, position) + 1), n_chunks(seq));
}
