//! Compiles the eBPF programs with clang, once with and once without the part that needs CAP_PERFMON.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const SOURCES: [&str; 3] = ["redirect", "port_map", "sources"];

fn main() {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for name in SOURCES {
        for read_kernel in [0, 1] {
            let object = out.join(format!("{name}-{read_kernel}.bpf.o"));
            compile(
                &Path::new("c").join(format!("{name}.bpf.c")),
                &object,
                read_kernel,
            );
        }
    }
}

fn compile(source: &Path, object: &Path, read_kernel: u8) {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let mut command = Command::new(&clang);
    command
        .args([
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
        ])
        .arg(format!("-DWEIR_READ_KERNEL={read_kernel}"))
        // Debian keeps asm/types.h apart for each machine.
        .arg(format!(
            "-I/usr/include/{}-linux-gnu",
            env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default()
        ))
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object);
    let advice = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match said.contains("file not found") {
                true => format!(
                    "{said}\nthe headers of libbpf or of the kernel are missing: install libbpf-dev and linux-libc-dev (Debian, Ubuntu), or libbpf-devel and kernel-headers (Fedora)"
                ),
                false => said,
            }
        }
        Err(error) => format!("cannot run {clang}: {error}; install clang, or name it in the variable CLANG"),
    };
    for line in advice.lines() {
        println!("cargo::error={line}");
    }
    exit(1);
}
