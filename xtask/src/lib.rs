//! What `cargo xtask infra` does. A library of its own, because its tests want a runner that can ignore one
//! for which this machine has no compiler or no Node.js.

pub mod infra;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    infra::tests::run()
}
