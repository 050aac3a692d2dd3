#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build tests/consumers/consumer.c against an install of this build, one way, and run it.

The install goes to a temporary DESTDIR, so nothing can be found by accident in the system."""
import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile


def run(command, **kwargs):
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run(command, check=True, **kwargs)


def need(tool):
    if not shutil.which(tool):
        print(f"SKIP: {tool} is not installed")
        sys.exit(77)


def installed(args, folder):
    root = folder / "root"
    run([args.meson, "install", "--no-rebuild", "--quiet", "-C", args.build, "--destdir", root])
    return root, root / args.prefix.lstrip("/")


def run_program(program, libdir=None):
    env = dict(os.environ)
    if libdir:
        env["LD_LIBRARY_PATH"] = f"{libdir}:{env.get('LD_LIBRARY_PATH', '')}"
    run([program], env=env)


def dynamic_names(program):
    return subprocess.run(["readelf", "-d", program], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def pkg_config(args, folder, static):
    need("pkg-config")
    root, prefix = installed(args, folder)
    libdir = prefix / args.libdir
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(root), PKG_CONFIG_LIBDIR=str(libdir / "pkgconfig"))
    query = ["pkg-config", "--cflags", "--libs"] + (["--static"] if static else []) + ["rapt"]
    flags = shlex.split(subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True,
                                       env=env).stdout)
    if static:
        # -l:librapt.a rather than -static, which would want a static libc as well.
        flags = ["-l:librapt.a" if f == "-lrapt" else f for f in flags]
    program = folder / "consumer"
    source = pathlib.Path(args.source) / "tests/consumers/consumer.c"
    run(args.compiler + ["-std=c11", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(program)]
        + flags + ["-lm"])
    linked = "librapt.so.0" in dynamic_names(program)
    if linked == static:
        sys.exit(f"the program {'needs' if linked else 'lacks'} librapt.so.0")
    run_program(program, None if static else libdir)


def cmake(args, folder):
    need("cmake")
    _, prefix = installed(args, folder)
    build = folder / "build"
    # Without dpkg-dev, meson installs to lib64 on Debian too, where CMake does not look by itself.
    where = (f"-Drapt_DIR={prefix / args.libdir}/cmake/rapt" if args.libdir == "lib64"
             else f"-DCMAKE_PREFIX_PATH={prefix}")
    run(["cmake", "-G", "Ninja", "-S", pathlib.Path(args.source) / "tests/consumers/cmake", "-B", build,
         where, "-DCMAKE_C_COMPILER=" + args.compiler[-1]])
    run(["cmake", "--build", build])
    programs = sorted(build.glob("consumer_*"))
    if not programs:
        sys.exit("cmake built no program")
    for program in programs:
        linked = "librapt.so.0" in dynamic_names(program)
        if (program.name == "consumer_static") == linked:
            sys.exit(f"{program.name}: linked to the wrong kind of library")
        run_program(program, prefix / args.libdir)


def subproject(args, folder):
    need("ninja")
    here = pathlib.Path(args.source) / "tests/consumers"
    app = folder / "app"
    (app / "subprojects").mkdir(parents=True)
    shutil.copy(here / "consumer.c", app)
    shutil.copy(here / "subproject/meson.build", app)
    (app / "subprojects/rapt").symlink_to(args.source)
    build = folder / "build"
    run([args.meson, "setup", "--wrap-mode=forcefallback", build, app])
    names = subprocess.run([args.meson, "introspect", "--tests", build], check=True,
                           stdout=subprocess.PIPE, text=True).stdout
    if names.strip() not in ("[]", ""):
        sys.exit("a subproject must not bring its tests along: " + names)
    run(["ninja", "-C", build])
    run_program(build / "consumer")


def main():
    parser = argparse.ArgumentParser()
    for name in ("source", "build", "prefix", "libdir", "meson"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("way")
    arguments = sys.argv[1:]
    cut = arguments.index("--")
    args = parser.parse_args(arguments[:cut])
    args.compiler = arguments[cut + 1:]
    # A stranger's build knows nothing of the flags of this one.
    for variable in ("DESTDIR", "MESON_TESTTHREADS", "NINJA_STATUS"):
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory(prefix="rapt-consumer-") as name:
        folder = pathlib.Path(name)
        if args.way == "subproject":
            subproject(args, folder)
        elif args.way == "cmake":
            cmake(args, folder)
        else:
            pkg_config(args, folder, args.way == "pkg-config-static")


if __name__ == "__main__":
    main()
