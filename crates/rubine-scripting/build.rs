//! Compiles Lua, which is in `lua/`, with the C compiler of the machine. Never looks for one that is installed.

fn main() {
    println!("cargo::rerun-if-changed=lua");
    let mut sources: Vec<_> = std::fs::read_dir("lua")
        .expect("the crate brings Lua along")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|it| it == "c"))
        .collect();
    sources.sort();
    cc::Build::new()
        .files(sources)
        .include("lua")
        // Misuse of its interface ends the process, where it would otherwise go unnoticed.
        .define("LUA_USE_APICHECK", None)
        .opt_level(2)
        .warnings(false)
        .flag_if_supported("-fno-strict-aliasing")
        .compile("rubine-lua");
}
