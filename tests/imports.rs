//! Imports point one way: no circles among the files of `src`, and none against the order of rooms that
//! `src/lib.rs` states. Read from the sources: every `use` and every path through a module, followed through
//! re-exports to the file that defines the item. What is compiled for tests alone is left out.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Files by their module's path: `[]` is lib.rs, `["ops", "relu"]` is ops/relu.rs.
type Modules = BTreeMap<Vec<String>, Source>;

/// The one exception to both rules: an op's gradient rule appends nodes, and a node holds an op.
const KNOW_EACH_OTHER: [&str; 2] = ["graph", "ops"];

/// What one file says about others.
#[derive(Default)]
struct Source {
    file: String,
    /// Names of the items that it defines.
    items: BTreeSet<String>,
    /// Names that `use` brings into scope or re-exports, and what they stand for.
    names: BTreeMap<String, Vec<String>>,
    /// Those of the names that it re-exports.
    exports: BTreeSet<String>,
    /// Modules of which it brings all names into scope.
    globs: Vec<Vec<String>>,
    /// Every path in it, those of `use` among them.
    paths: BTreeSet<Vec<String>>,
}

/// From one file to another.
type Import = (String, String);

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read(&src, "", &mut sources);
    let rooms = rooms(&std::fs::read_to_string(src.join("lib.rs")).expect("lib.rs"));
    let found: BTreeSet<&str> = sources.iter().map(|(file, _)| room(file)).collect();
    let stated: BTreeSet<&str> = rooms.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        found, stated,
        "the rooms of src, and those that lib.rs puts in order"
    );
    let imports = imports(&sources);
    assert!(
        imports.len() > 300,
        "only {} imports were found",
        imports.len()
    );
    let faults = faults(&imports, &rooms);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_is_dangerous_stands_in_few_rooms() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read(&src, "", &mut sources);
    for (name, places) in [
        ("wgpu", &["backend/gpu/"][..]),
        ("unsafe", &["backend/gpu/", "kernels/", "cli/signals.rs"]),
    ] {
        let has = |text: &str| tokens(text).iter().any(|token| token == name);
        let files = sources.iter().filter(|(_, text)| has(text));
        let files: Vec<&str> = files.map(|(file, _)| file.as_str()).collect();
        assert!(!files.is_empty(), "no file has {name}");
        for file in files {
            let is_place = |place: &&str| file.starts_with(place);
            assert!(places.iter().any(is_place), "{file} has {name}");
        }
    }
}

/// These end the program where their stream is closed or full.
#[test]
fn no_message_is_printed_by_a_macro_that_panics() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read(&src, "", &mut sources);
    for (file, text) in sources {
        for name in ["print", "println", "eprint", "eprintln"] {
            let call = [name, "!"];
            let has = tokens(&text).windows(2).any(|pair| pair == call);
            assert!(!has, "{file} has {name}!, which process::say stands for");
        }
    }
}

/// All files below a folder but the two that stand above all rooms, as (path, text).
fn read(folder: &Path, under: &str, sources: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
        let file = format!("{under}{name}");
        if path.is_dir() {
            read(&path, &format!("{file}/"), sources);
        } else if name.ends_with(".rs") && !["lib.rs", "main.rs"].contains(&&*file) {
            sources.push((file, std::fs::read_to_string(&path).expect("a source file")));
        }
    }
}

/// The order of rooms, lowest first, from the block in lib.rs whose rooms stand between arrows.
fn rooms(lib: &str) -> Vec<Vec<String>> {
    let lines = lib.lines().filter(|line| line.contains('◄'));
    let text: String = lines.map(|line| line.trim_start_matches("//!")).collect();
    let level = |level: &str| {
        level
            .split('+')
            .map(|room| room.trim().to_string())
            .collect()
    };
    text.split('◄')
        .filter(|level| !level.trim().is_empty())
        .map(level)
        .collect()
}

/// The first part of a file's path.
fn room(file: &str) -> &str {
    let room = file.split('/').next().expect("a part");
    room.trim_end_matches(".rs")
}

/// Every circle and every import of a higher room.
fn faults(imports: &BTreeSet<Import>, rooms: &[Vec<String>]) -> Vec<String> {
    let level = |file: &str| {
        let known = |level: &Vec<String>| level.iter().any(|name| name == room(file));
        rooms
            .iter()
            .position(known)
            .unwrap_or_else(|| panic!("{file} is in no room of lib.rs"))
    };
    let backwards = imports.iter().filter(|(from, to)| level(from) < level(to));
    let backwards = backwards.map(|(from, to)| format!("backwards: {from} imports {to}"));
    let mut faults: Vec<String> = backwards.collect();
    let mut rest: BTreeSet<&Import> = imports.iter().filter(|i| !is_excepted(i)).collect();
    while let Some(circle) = circle(&rest) {
        faults.push(format!("a circle: {}", circle.join(" → ")));
        // The others are found without this import.
        rest.retain(|(from, to)| !(*from == circle[0] && *to == circle[1]));
    }
    faults
}

/// Whether an import goes between the two rooms that know each other.
fn is_excepted((from, to): &Import) -> bool {
    [from, to]
        .iter()
        .all(|file| KNOW_EACH_OTHER.contains(&room(file)))
        && room(from) != room(to)
}

/// A shortest way from some file back to itself.
fn circle(imports: &BTreeSet<&Import>) -> Option<Vec<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in imports {
        next.entry(from).or_default().push(to);
    }
    let back_to = |start: &str| {
        let mut ways = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                for &to in next.get(way[way.len() - 1]).into_iter().flatten() {
                    let way = [&way[..], &[to]].concat();
                    if to == start {
                        return Some(way.into_iter().map(String::from).collect());
                    }
                    if seen.insert(to) {
                        longer.push(way);
                    }
                }
            }
            ways = longer;
        }
        None
    };
    let circles = next.keys().filter_map(|start| back_to(start));
    circles.min_by_key(Vec::<String>::len)
}

/// Which file imports something that which other file defines.
fn imports(sources: &[(String, String)]) -> BTreeSet<Import> {
    let mut modules = Modules::new();
    for (file, _) in sources {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let path: Vec<String> = path.split('/').map(String::from).collect();
        if path.last().is_none_or(|name| name != "tests") {
            modules.insert(path, Source::default());
        }
    }
    for (file, text) in sources {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let path: Vec<String> = path.split('/').map(String::from).collect();
        if modules.contains_key(&path) {
            let source = Reader::new(&modules, &path, text).source(file);
            modules.insert(path, source);
        }
    }
    let mut imports = BTreeSet::new();
    for source in modules.values() {
        let globs = source.globs.iter().filter_map(|glob| modules.get(glob));
        let globs = globs.map(|of_glob| of_glob.file.clone());
        let items = source
            .paths
            .iter()
            .filter_map(|path| defined(&modules, path, 0));
        for to in items.chain(globs) {
            if to != source.file {
                imports.insert((source.file.clone(), to));
            }
        }
    }
    imports
}

/// The file that defines what a path from the crate's root names; `None` for a module, which is a way to items alone.
fn defined(modules: &Modules, path: &[String], depth: usize) -> Option<String> {
    assert!(depth < 20, "{path:?} is re-exported in a circle");
    let inside = (0..=path.len())
        .rev()
        .find(|&len| modules.contains_key(&path[..len]))?;
    let (module, rest) = path.split_at(inside);
    let source = &modules[module];
    let (name, rest) = rest.split_first()?;
    if let Some(target) = source.names.get(name) {
        return defined(modules, &[&target[..], rest].concat(), depth + 1);
    }
    // What a macro makes, or brings in from another crate, is said to be here too.
    let here = || Some(source.file.clone());
    if source.items.contains(name) {
        return here();
    }
    let may_have_it = |glob: &&Vec<String>| {
        modules.get(*glob).is_some_and(|source| {
            let has = source.items.contains(name) || source.exports.contains(name);
            has || !source.globs.is_empty()
        })
    };
    let globs = source.globs.iter().filter(may_have_it);
    let mut behind = globs.filter_map(|glob| {
        let path = [&glob[..], std::slice::from_ref(name)].concat();
        defined(modules, &path, depth + 1)
    });
    let has_it = |file: &String| {
        let mut sources = modules.values();
        sources.any(|source| source.file == *file && source.items.contains(name))
    };
    behind.find(has_it).or_else(here)
}

/// Reads the tokens of one file.
struct Reader<'a> {
    modules: &'a Modules,
    module: &'a [String],
    tokens: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(modules: &'a Modules, module: &'a [String], text: &str) -> Reader<'a> {
        let tokens = without_tests(tokens(text));
        Reader {
            modules,
            module,
            tokens,
        }
    }

    fn source(&self, file: &str) -> Source {
        let mut source = Source {
            file: file.to_string(),
            ..Source::default()
        };
        // How deep the inline modules begin in which a token stands; `super` in them is nearer.
        let mut inline: Vec<usize> = Vec::new();
        let mut depth = 0;
        let mut inner = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match &*self.tokens[at] {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inline.pop_if(|begun| *begun == depth);
                }
                "mod" if self.token(at + 2) == "{" => inline.push(depth),
                "use" => {
                    let is_public = ["pub", ")"].contains(&self.token(at.wrapping_sub(1)));
                    let tree;
                    (tree, at) = self.tree(at + 1, &[]);
                    for (path, name) in tree {
                        if let Some(path) = self.absolute(&path, inline.len()) {
                            match path.split_last() {
                                Some((last, module)) if last == "*" => {
                                    source.globs.push(module.to_vec());
                                }
                                _ => {
                                    if is_public {
                                        source.exports.insert(name.clone());
                                    }
                                    if inline.is_empty() {
                                        source.names.insert(name, path.clone());
                                    }
                                    source.paths.insert(path);
                                }
                            }
                        }
                    }
                }
                "struct" | "enum" | "trait" | "type" | "const" | "static" | "fn" => {
                    source.items.insert(self.token(at + 1).to_string());
                }
                _ if self.token(at + 1) == "::" && self.token(at.wrapping_sub(1)) != "::" => {
                    inner.push((self.path(at), inline.len()));
                }
                _ => {}
            }
            at += 1;
        }
        for (path, depth) in inner {
            let known = source.names.get(&path[0]);
            let path = match known {
                Some(known) => Some([&known[..], &path[1..]].concat()),
                None => self.absolute(&path, depth),
            };
            source.paths.extend(path);
        }
        source
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }

    /// The path of names that begins at a token.
    fn path(&self, mut at: usize) -> Vec<String> {
        let mut path = vec![self.tokens[at].clone()];
        while self.token(at + 1) == "::" && is_name(self.token(at + 2)) {
            at += 2;
            path.push(self.tokens[at].clone());
        }
        path
    }

    /// The paths of a tree of `use` with the names that they get, and where the tree ends.
    fn tree(&self, mut at: usize, before: &[String]) -> (Vec<(Vec<String>, String)>, usize) {
        let mut path = before.to_vec();
        let mut found = Vec::new();
        loop {
            match self.token(at) {
                "{" => {
                    while self.token(at) != "}" {
                        let inner;
                        (inner, at) = self.tree(at + 1, &path);
                        found.extend(inner);
                    }
                    return (found, at + 1);
                }
                "::" => at += 1,
                "as" => {
                    found.extend([(path.clone(), self.tokens[at + 1].clone())]);
                    return (found, at + 2);
                }
                "self" if !path.is_empty() => at += 1,
                name if is_name(name) || name == "*" => {
                    path.push(name.to_string());
                    at += 1;
                }
                _ => {
                    let is_empty = path.len() == before.len() && self.token(at - 1) != "self";
                    let name = path.last().cloned().filter(|_| !is_empty);
                    found.extend(name.map(|name| (path, name)));
                    return (found, at);
                }
            }
        }
    }

    /// A path from the crate's root, unless it leads out of the crate. `depth` is that of inline modules around it.
    fn absolute(&self, path: &[String], depth: usize) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        if path[0] == "crate" {
            return Some(path[1..].to_vec());
        }
        if supers > 0 {
            let up = supers.saturating_sub(depth);
            return Some([&self.module[..self.module.len() - up], &path[supers..]].concat());
        }
        let local = path.strip_prefix(&["self".to_string()]);
        let below = [self.module, local.unwrap_or(path)].concat();
        let is_child = self.modules.contains_key(&below[..=self.module.len()]);
        (local.is_some() || is_child).then_some(below)
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Leaves out modules under `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(MARK.len()).eq(MARK.iter()) {
            at += MARK.len() + 1;
            let mut depth = 0;
            loop {
                match &*tokens[at] {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Names, numbers, `::` and single signs; no comments and no contents of strings.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if c == '\'' {
            // A character, or the quote of a lifetime.
            let inside = &rest[1..];
            let first = inside.chars().next().expect("something quoted");
            if first == '\\' {
                4 + inside[2..].find('\'').expect("the end of a character")
            } else if inside[first.len_utf8()..].starts_with('\'') {
                2 + first.len_utf8()
            } else {
                1
            }
        } else if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        let token = &rest[..len];
        if !c.is_whitespace() && !token.starts_with("//") && !matches!(c, '"' | '\'') {
            tokens.push(token.to_string());
        }
        rest = &rest[len..];
    }
    tokens
}

/// The faults of made-up files, whose rooms are low and high.
fn of(sources: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<_> = sources
        .iter()
        .map(|(f, t)| (f.to_string(), t.to_string()))
        .collect();
    faults(&imports(&sources), &rooms("//! low ◄ graph + ops ◄ high"))
}

#[test]
fn a_circle_is_found_through_a_re_export() {
    let facade = (
        "low/mod.rs",
        "mod a; mod b; pub use a::One; pub use b::two;",
    );
    let a = ("low/a.rs", "use super::two; pub struct One;");
    assert_eq!(of(&[facade, a, ("low/b.rs", "pub fn two() {}")]), [""; 0]);
    let circle = "a circle: low/a.rs → low/b.rs → low/a.rs";
    let b = "use crate::{low::{One as First}, other}; pub fn two() -> First { First }";
    assert_eq!(of(&[facade, a, ("low/b.rs", b)]), [circle]);
    // As a path without a `use`, by way of a module, and in a file that also uses another crate.
    assert_eq!(
        of(&[facade, a, ("low/b.rs", "pub fn two() -> super::a::One {}")]),
        [circle]
    );
    let b = "use std::fmt; use super::a; mod inner { pub type T = super::a::One; } pub fn two() {}";
    assert_eq!(of(&[facade, a, ("low/b.rs", b)]), [circle]);
    // Through a glob, and by one.
    let glob = ("low/mod.rs", "mod a; mod b; pub use a::*; pub use b::*;");
    assert_eq!(
        of(&[glob, a, ("low/b.rs", "use super::One; pub fn two() {}")]),
        [circle]
    );
    assert_eq!(
        of(&[facade, a, ("low/b.rs", "use super::a::*; pub fn two() {}")]),
        [circle]
    );
    // What a mod.rs defines is imported from it.
    let facade = (
        "low/mod.rs",
        "mod a; pub use a::One; pub const N: usize = 1;",
    );
    let circle = "a circle: low/a.rs → low/mod.rs → low/a.rs";
    assert_eq!(
        of(&[facade, ("low/a.rs", "use super::N; pub struct One;")]),
        [circle]
    );
}

#[test]
fn an_import_of_a_higher_room_is_found() {
    let low = |text| {
        of(&[
            ("low.rs", text),
            ("high/mod.rs", "mod x; pub use x::Y;"),
            ("high/x.rs", ""),
        ])
    };
    assert_eq!(
        low("use crate::high::Y;"),
        ["backwards: low.rs imports high/x.rs"]
    );
    assert_eq!(
        low("fn f() { let y = crate::high::Y::new(); }"),
        ["backwards: low.rs imports high/x.rs"]
    );
    assert_eq!(
        low("use crate::high; fn f(y: high::Y) {}"),
        ["backwards: low.rs imports high/x.rs"]
    );
    assert_eq!(
        low("// use crate::high::Y;\nconst X: &str = \"crate::high::Y\"; const Q: char = '\"';"),
        [""; 0]
    );
    assert_eq!(
        low("const Q: char = '\\''; type X = crate::high::Y;"),
        ["backwards: low.rs imports high/x.rs"]
    );
    assert_eq!(
        low("#[cfg(test)]\nmod tests { use crate::high::Y; }"),
        [""; 0]
    );
    let high = of(&[("low.rs", ""), ("high.rs", "use crate::low::Z;")]);
    assert_eq!(high, [""; 0]);
}

#[test]
fn graph_and_ops_know_each_other() {
    let graph = ("graph.rs", "use crate::ops::Op; pub struct Node;");
    let ops = ("ops.rs", "use crate::graph::Node; pub struct Op;");
    assert_eq!(of(&[graph, ops]), [""; 0]);
}
