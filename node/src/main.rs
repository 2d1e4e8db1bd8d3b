//! `fmesh`: one factory's node, and the commands that speak to it.

use std::process::ExitCode;

/// Reading records makes many short-lived values, and mostly drops them on another thread than it made them on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match fmesh::cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    let mut runtime = if cli.runs_a_node() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let code = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => fmesh::cli::no_runtime(&error),
    };
    ExitCode::from(code)
}
