//! Circles among the modules of a crate: of modules with one parent, each may use another in one direction only. What a
//! parent and its children use of each other is their own affair.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use super::each_file;
use super::paths::{self, NamedPath, Source};
use crate::Failure;

/// Files that only tests compile, whoever declares them.
const TEST_FILES: [&str; 4] = ["tests", "golden", "interleavings", "testing"];

/// Imports that lead to imports, before we give up on a name.
const BINDINGS_MAX: usize = 16;

/// The circles of the crate in this folder, each with an import for every arrow.
pub(super) fn of_crate(root: &Path, folder: &Path) -> Result<Vec<String>, Failure> {
    let modules = Modules::read(root, folder)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let levels = modules.levels();
    let circles = levels.iter().filter_map(|(parent, graph)| {
        let circle = graph.shortest_circle()?;
        let place = if parent.is_empty() { String::new() } else { format!(" in {parent}") };
        let arrows: String = circle
            .iter()
            .map(|(from, to, import)| format!("\n  {from} -> {to}: {import}"))
            .collect();
        let knotted: Vec<_> = graph.knotted().collect();
        let (count, names) = (knotted.len(), knotted.join(", "));
        Some(format!(
            "{name}: {count} modules{place} use each other in circles ({names}), as these do:{arrows}"
        ))
    });
    Ok(circles.collect())
}

/// The path of a module from its crate's root, which is the empty one.
type ModulePath = Vec<String>;

/// The modules of one crate that are files.
struct Modules {
    by_path: BTreeMap<ModulePath, Module>,
}

struct Module {
    file: String,
    lines: Vec<String>,
    source: Source,
}

impl Modules {
    fn read(root: &Path, folder: &Path) -> Result<Self, Failure> {
        let source_folder = folder.join("src");
        let mut by_path = BTreeMap::new();
        each_file(&source_folder, |name, text| {
            let words = name.trim_end_matches(".rs").split('/').map(str::to_owned);
            let is_root = ["lib.rs", "main.rs"].contains(&name);
            let path = if is_root { Vec::new() } else { words.collect() };
            let file = source_folder.strip_prefix(root).unwrap_or(&source_folder).join(name);
            let module = Module {
                file: file.display().to_string(),
                lines: text.lines().map(str::to_owned).collect(),
                source: paths::read(text),
            };
            by_path.insert(path, module);
            Vec::new()
        })?;
        let mut modules = Self { by_path };
        modules.leave_out_tests();
        Ok(modules)
    }

    fn leave_out_tests(&mut self) {
        let declared = self.by_path.iter().flat_map(|(path, module)| {
            module.source.test_modules.iter().map(|name| child(path, name))
        });
        let declared: Vec<ModulePath> = declared.collect();
        self.by_path.retain(|path, _| {
            let is_test_file = path.iter().any(|name| TEST_FILES.contains(&name.as_str()));
            !is_test_file && !declared.iter().any(|tests| path.starts_with(tests))
        });
    }

    /// Who uses whom, at each level: by the parent of those who do.
    fn levels(&self) -> BTreeMap<String, Graph> {
        let mut levels = BTreeMap::<String, Graph>::new();
        for (path, module) in &self.by_path {
            for named in &module.source.paths {
                let Some(target) = self.target(path, named) else { continue };
                let common = path.iter().zip(&target).take_while(|(own, its)| own == its).count();
                let (Some(from), Some(to)) = (path.get(common), target.get(common)) else {
                    continue;
                };
                let text = module.lines.get(named.line - 1).map_or("", |line| line.trim());
                let import = format!("{}:{}: {text}", module.file, named.line);
                levels.entry(path[..common].join("::")).or_default().add(from, to, import);
            }
        }
        levels
    }

    /// The module that a path leads to from `module`, if it is one of ours.
    fn target(&self, module: &[String], named: &NamedPath) -> Option<ModulePath> {
        let mut place = module.to_vec();
        let mut named = named.clone();
        for _ in 0..BINDINGS_MAX {
            let absolute = self.absolute(&place, &named)?;
            let owner_len = (0..=absolute.len())
                .rev()
                .find(|&len| self.by_path.contains_key(&absolute[..len]))?;
            let (owner, rest) = absolute.split_at(owner_len);
            // What an ancestor has imported itself is not the ancestor's.
            let binding = rest.first().filter(|_| module.starts_with(owner)).and_then(|name| {
                self.by_path[owner].source.bindings.iter().find(|it| it.name == *name)
            });
            let Some(binding) = binding else { return Some(owner.to_vec()) };
            place = owner.to_vec();
            named = binding.path.clone();
            named.words.extend_from_slice(&rest[1..]);
            self.absolute(&place, &named)?;
        }
        None
    }

    /// The path from the crate's root; nothing for one that leads out of the crate.
    fn absolute(&self, module: &[String], named: &NamedPath) -> Option<ModulePath> {
        let mut base = [module, &named.within[..]].concat();
        let mut words = named.words.iter().peekable();
        let first = words.peek()?.as_str();
        let is_own_child = self.by_path.contains_key(&child(&base, first));
        match first {
            "crate" => base.clear(),
            "self" | "super" => {}
            _ if is_own_child => {}
            _ => return None,
        }
        for word in words {
            match word.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                _ => base.push(word.clone()),
            }
        }
        Some(base)
    }
}

fn child(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// Siblings and what they use of each other, with one import for each pair.
#[derive(Default)]
struct Graph {
    edges: BTreeMap<String, BTreeMap<String, String>>,
}

impl Graph {
    fn add(&mut self, from: &str, to: &str, import: String) {
        self.edges.entry(from.to_owned()).or_default().entry(to.to_owned()).or_insert(import);
    }

    /// Those that are part of some circle.
    fn knotted(&self) -> impl Iterator<Item = &str> {
        let names = self.edges.keys().map(String::as_str);
        names.filter(|name| self.way_back(name).is_some())
    }

    /// The arrows of one of the shortest circles: from, to, import.
    fn shortest_circle(&self) -> Option<Vec<(&str, &str, &str)>> {
        let circles = self.edges.keys().filter_map(|name| self.way_back(name));
        let names = circles.min_by_key(Vec::len)?;
        let arrows = names.windows(2).map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            (from, to, self.edges[from][to].as_str())
        });
        Some(arrows.collect())
    }

    /// The shortest way from a module to itself; its name stands at both ends.
    fn way_back<'a>(&'a self, start: &'a str) -> Option<Vec<&'a str>> {
        let mut seen = BTreeSet::new();
        let mut ways = VecDeque::from([vec![start]]);
        while let Some(way) = ways.pop_front() {
            let last = way.last().expect("a way has a start");
            for next in self.edges.get(*last).into_iter().flat_map(BTreeMap::keys) {
                let longer: Vec<_> = way.iter().copied().chain([next.as_str()]).collect();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next) {
                    ways.push_back(longer);
                }
            }
        }
        None
    }
}

/// The folders of our crates.
pub(super) fn crate_folders(root: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let mut folders = vec![root.join("xtask")];
    for entry in fs::read_dir(root.join("crates"))? {
        folders.push(entry?.path());
    }
    folders.retain(|folder| folder.join("src").is_dir());
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Module, Modules, paths};

    /// The shortest circle of each level in modules of these paths and texts.
    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let modules = files.iter().map(|(path, text)| {
            let module = Module {
                file: format!("{path}.rs"),
                lines: text.lines().map(str::to_owned).collect(),
                source: paths::read(text),
            };
            let path = path.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
            (path, module)
        });
        let mut modules = Modules { by_path: modules.collect::<BTreeMap<_, _>>() };
        modules.leave_out_tests();
        let levels = modules.levels();
        let circles = levels.values().filter_map(super::Graph::shortest_circle);
        circles
            .map(|arrows| arrows.iter().map(|(from, to, _)| format!("{from}-{to} ")).collect())
            .collect()
    }

    #[test]
    fn siblings_that_use_each_other() {
        let files =
            [("", "mod a;\nmod b;\n"), ("a", "use crate::b::B;"), ("b", "use super::a::A;")];
        assert_eq!(circles(&files), ["a-b b-a "]);
        let files = [
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c", "fn f() { crate::a::f() }"),
        ];
        assert_eq!(circles(&files), ["a-b b-c c-a "]);
        assert_eq!(circles(&files[..2]), Vec::<String>::new());
    }

    #[test]
    fn parents_and_children_are_free() {
        let files = [
            ("", "mod a;\nuse a::A;\npub struct Root;"),
            ("a", "mod b;\nuse b::B;\nuse crate::Root;"),
            ("a/b", "use super::A;\nuse crate::Root;"),
        ];
        assert_eq!(circles(&files), Vec::<String>::new());
    }

    #[test]
    fn an_import_of_the_parent_stands_for_what_it_imports() {
        let files = [
            ("a", "mod b;\nmod c;\nuse b::B;"),
            ("a/b", "use super::c::C;"),
            ("a/c", "use super::B;"),
        ];
        assert_eq!(circles(&files), ["b-c c-b "]);
    }

    #[test]
    fn folders_count_with_all_they_hold() {
        let files = [
            ("a", ""),
            ("a/x", "use crate::b::y::Y;"),
            ("b", ""),
            ("b/y", ""),
            ("b/z", "use crate::a::A;"),
        ];
        assert_eq!(circles(&files), ["a-b b-a "]);
    }

    #[test]
    fn tests_may_use_anything() {
        let files = [
            ("a", "#[cfg(test)]\nmod model;"),
            ("a/model", "use crate::b::B;"),
            ("a/tests", "use crate::b::B;"),
            ("b", "use crate::a::A;"),
        ];
        assert_eq!(circles(&files), Vec::<String>::new());
    }
}
