//! The programs under test, which Cargo puts beside the test programs.

/// The handler of the profile that this test program was built in.
pub fn handler() -> String {
    program("handler")
}

/// The command line of the same profile.
pub fn chunkctl() -> String {
    program("chunkctl")
}

/// A program beside this one: `target/<profile>/deps/it-...` and `target/<profile>/handler`.
fn program(name: &str) -> String {
    let own = std::env::current_exe().expect("this program has a path");
    let beside = own.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    let found = beside.clone().find(|path| path.is_file());
    found.map(|path| path.display().to_string()).unwrap_or_else(|| {
        let places: Vec<_> = beside.map(|path| path.display().to_string()).collect();
        panic!("no {name} at {}: `cargo build --workspace --bins` makes it", places.join(", "))
    })
}
