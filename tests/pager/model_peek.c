/* SPDX-License-Identifier: Apache-2.0 */
/* What the public functions do not show. */
#include "model.h"

#include "inside.h"

void model_peek_pin(const rapt_pager *pager, rapt_seq pin, uint32_t group, uint32_t n_pages,
                    uint32_t *out_table)
{
    struct sequence *seq = NULL;
    rapt_status status = rapt_seqs_find(pager, pin, "pin", SEQUENCE_PIN, &seq);
    for (uint32_t i = 0; i < n_pages; i++)
        out_table[i] = status == RAPT_OK ? table_of(seq, group)[i] : UINT32_MAX;
}

void model_make_hashes_meet(rapt_pager *pager)
{
    rapt_pager_mask_hashes(pager, 0);
}
