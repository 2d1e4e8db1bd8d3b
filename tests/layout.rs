//! Rules of the repository that a reader may rely on, as a test: who may name what, and what lies where.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn only_the_store_names_sled() {
    refuse("node/src", &["sled"], |file| in_module(file, "store"));
}

#[test]
fn only_net_and_keystore_name_libp2p() {
    refuse("node/src", &["libp2p"], |file| {
        in_module(file, "net") || in_module(file, "keystore")
    });
}

/// Clock, socket, disk and runtime come in as arguments.
#[test]
fn proto_names_no_clock_socket_disk_or_runtime() {
    let names = [
        "tokio",
        "sled",
        "libp2p",
        "axum",
        "clap",
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
    ];
    refuse("proto/src", &names, |_| false);
    let manifest = toml(&root().join("proto/Cargo.toml"));
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let there = manifest.get(table).and_then(toml::Value::as_table);
        for name in ["tokio", "sled", "libp2p", "axum", "clap", "fmesh"] {
            let named = there.is_some_and(|there| there.contains_key(name));
            assert!(!named, "proto's [{table}] names {name}");
        }
    }
}

#[test]
fn signatures_codec_and_metrics_have_one_version() {
    let lock = toml(&root().join("Cargo.lock"));
    let packages = lock["package"].as_array().expect("packages");
    for name in ["ed25519-dalek", "prost", "prometheus-client"] {
        let versions: Vec<_> = packages
            .iter()
            .filter(|package| package["name"].as_str() == Some(name))
            .map(|package| package["version"].as_str().expect("a version"))
            .collect();
        assert_eq!(versions.len(), 1, "{name} {versions:?}");
    }
}

#[test]
fn the_top_level_stays_small() {
    let allowed = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "examples",
        "node",
        "proto",
        "target",
        "tests",
    ];
    for entry in fs::read_dir(root()).expect("the root is there") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let fits = name.starts_with('.') || allowed.contains(&name.as_ref());
        assert!(
            fits,
            "{name} does not belong to the top level: {allowed:?} or a dotfile"
        );
    }
}

#[test]
fn nothing_is_left_to_do() {
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    for file in sources("") {
        let code = code(&read(&file));
        for word in &words {
            let line = code.lines().position(|line| line.contains(word));
            assert_eq!(
                line,
                None,
                "{word} in {}, counting lines from 0",
                shown(&file)
            );
        }
    }
}

/// What SECURITY.md says of each stolen secret is shown by the test that its row names.
#[test]
fn each_row_about_a_stolen_secret_names_its_test() {
    let text = read(&root().join("node/SECURITY.md"));
    let table = text.split("<!-- stolen -->").nth(1).expect("the table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip_while(|line| line.is_empty())
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let secrets: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let all = [
        "root",
        "record",
        "log",
        "witness",
        "transport",
        "box",
        "seed",
        "epoch key of a group",
        "invite",
        "API token",
    ];
    assert_eq!(secrets, all);
    let code: Vec<String> = ["proto/src", "node/src", "tests"]
        .into_iter()
        .flat_map(sources)
        .map(|file| read(&file))
        .collect();
    let is_test = |name: &str| {
        code.iter().any(|text| {
            let declared = text.split_once(&format!("fn {name}()"));
            let before = declared.map(|(before, _)| before.trim_end().trim_end_matches("async"));
            before.is_some_and(|before| {
                let last = before.trim_end().lines().next_back();
                let attribute = last.unwrap_or_default().trim();
                attribute == "#[test]" || attribute.starts_with("#[tokio::test")
            })
        })
    };
    let mut named: Vec<&str> = Vec::new();
    for row in rows {
        assert_eq!(row.len(), 8, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        for name in row[7].split(", ").map(|name| name.trim_matches('`')) {
            assert!(is_test(name), "{} names no test: {name}", row[0]);
            named.push(name);
        }
    }
    // And no test about a theft without a row.
    let theft = read(&root().join("proto/src/keys/theft.rs"));
    for test in theft.split("#[test]\nfn ").skip(1) {
        let name = test.split('(').next().unwrap_or_default();
        assert!(named.contains(&name), "{name} is named by no row");
    }
}

/// Modules are `x.rs` and `x/`, so that editor tabs differ.
#[test]
fn no_module_is_called_mod() {
    for file in ["node/src", "proto/src"].into_iter().flat_map(sources) {
        assert_ne!(
            file.file_name().expect("a name"),
            "mod.rs",
            "{}",
            shown(&file)
        );
    }
}

/// The README tells a newcomer two commands; the second is what CI runs.
#[test]
fn ci_runs_the_tests_as_the_readme_does() {
    let (readme, ci) = (
        read(&root().join("README.md")),
        read(&root().join(".ci/run")),
    );
    for command in ["cargo run --release -- demo", "cargo test --workspace"] {
        let in_readme = readme
            .lines()
            .any(|line| line.trim() == command || line.trim() == format!("$ {command}"));
        assert!(
            in_readme,
            "the README does not show on a line of its own: {command}"
        );
    }
    // The demo, with what it prints, is a test of its own: a release build for it would take half as long as all the rest.
    let tests = "step cargo test --workspace";
    assert!(
        ci.lines().any(|line| line == tests),
        ".ci/run does not run: {tests}"
    );
}

#[test]
fn paths_are_found_in_every_spelling() {
    let text = r#"
        //! sled::Db in a comment
        use std::{collections::BTreeMap, fs::{self, File}, time as clock};
        pub(crate) use tokio::sync::mpsc;
        use libp2p as p2p;
        fn open() { ::sled::open("x"); let at = std::time::Instant::now(); } // std::net::TcpStream
        "#;
    let found = paths(text);
    for (line, path) in [
        (3, "std::collections::BTreeMap"),
        (3, "std::fs"),
        (3, "std::fs::File"),
        (3, "std::time"),
        (4, "tokio::sync::mpsc"),
        (5, "libp2p"),
        (6, "sled::open"),
        (6, "std::time::Instant::now"),
    ] {
        assert!(
            found.contains(&(line, path.to_owned())),
            "{path} in {found:?}"
        );
    }
    assert_eq!(
        (
            names(&found, "sled"),
            names(&found, "fs"),
            names(&found, "Instant")
        ),
        (Some(6), Some(3), Some(6))
    );
    for absent in ["std::net", "sled::Db", "p2p", "f", "std::f", "mpsc::std"] {
        assert_eq!(names(&found, absent), None, "{absent} in {found:?}");
    }
}

/// No file below `dir` names one of `words` as the beginning of a path, but those that are `excepted`.
fn refuse(dir: &str, words: &[&str], excepted: impl Fn(&Path) -> bool) {
    let (checked, free): (Vec<_>, Vec<_>) =
        sources(dir).into_iter().partition(|file| !excepted(file));
    assert!(checked.len() > 10, "{dir} has sources");
    for file in checked {
        let paths = paths(&read(&file));
        for word in words {
            let line = names(&paths, word);
            assert_eq!(line, None, "{} names {word} on this line", shown(&file));
        }
    }
    // A rule whose exception is never needed has been outlived, or the search is blind.
    let used = free.iter().any(|file| {
        words
            .iter()
            .any(|word| names(&paths(&read(file)), word).is_some())
    });
    assert!(
        free.is_empty() || used,
        "no exception in {dir} names {words:?}"
    );
}

/// Whether `file` is the module `node/src/<module>.rs` or lies in its directory.
fn in_module(file: &Path, module: &str) -> bool {
    let file = file
        .strip_prefix(root().join("node/src"))
        .expect("below node/src");
    file == Path::new(module).with_extension("rs") || file.starts_with(module)
}

/// Line of the first path that holds the segments of `word` side by side.
fn names(paths: &[(usize, String)], word: &str) -> Option<usize> {
    let word = format!("::{word}::");
    let found = paths
        .iter()
        .find(|(_, path)| format!("::{path}::").contains(&word));
    found.map(|(line, _)| *line)
}

/// Paths in a source with the lines they stand on: those with `::`, and those of `use` with its groups spelled out.
fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut import: Option<(usize, String)> = None;
    for (line, code) in (1..).zip(code(text).lines()) {
        if import.is_none()
            && let Some((visibility, tree)) = code.split_once("use ")
            && (visibility.trim().is_empty() || visibility.trim().starts_with("pub"))
        {
            import = Some((line, tree.to_owned()));
        } else if let Some((_, tree)) = &mut import {
            tree.push_str(code);
        } else {
            let chunks = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let paths = chunks
                .map(|chunk| chunk.trim_matches(':'))
                .filter(|chunk| chunk.contains("::"));
            found.extend(paths.map(|path| (line, path.to_owned())));
        }
        if let Some((line, tree)) = import.take_if(|(_, tree)| tree.contains(';')) {
            let tree = tree.split(';').next().unwrap_or_default();
            found.extend(spelled_out(tree).into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// `a::{b, c::{self, d as e}}` is `a::b`, `a::c`, `a::c::d`.
fn spelled_out(tree: &str) -> Vec<String> {
    let Some((before, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return vec![
            path.trim_start_matches(':')
                .trim_end_matches("::self")
                .to_owned(),
        ];
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| spelled_out(&format!("{}{}", before.trim(), part.trim())))
        .collect()
}

/// A source without its comments.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| {
        match line
            .match_indices("//")
            .find(|(at, _)| !line[..*at].ends_with(':'))
        {
            Some((at, _)) => &line[..at],
            None => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// All Rust sources below `dir` of the repository, without what is built.
fn sources(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn toml(path: &Path) -> toml::Value {
    let table: toml::Table = read(path).parse().expect("TOML");
    table.into()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}
