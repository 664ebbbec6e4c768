//! Names of classes whose letters are composed in one place and decomposed in another, as macOS writes them.
use crate::cli::json;
use crate::folder::{classes, in_folder, picture, told, train};
use predicates::str::contains;
use std::fs;
use tempfile::TempDir;

const COMPOSED: &str = "\u{e4}pfel";
const DECOMPOSED: &str = "a\u{308}pfel";

#[test]
fn a_class_is_the_same_in_both_writings() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p.join("train"), &[DECOMPOSED, "b"], 4, 0);
    classes(&p.join("val"), &[COMPOSED, "b"], 2, 100);
    let report = told(folder.path(), &[]);
    // The name is that of the folder to train on, so that the order is torchvision's.
    assert_eq!(report["classes"][0]["name"], DECOMPOSED);
    assert_eq!(report["classes"].as_array().unwrap().len(), 2);
    assert_eq!(report["classes"][0]["validation"], 2);
    assert!(report["notes"].to_string().contains("they are one class"));
    train(folder.path(), &[]).assert().success();

    // Another folder, with one class of two.
    let other = folder.path().join("other");
    classes(&other, &[COMPOSED], 3, 200);
    let mut eval = in_folder(folder.path());
    eval.args("eval run --device cpu --data other --json".split(' '));
    let report = json(&eval.output().unwrap().stdout);
    assert_eq!(report["classes"][0]["images"], 3);
    assert_eq!(report["classes"][1]["images"], 0);
}

/// Where a system keeps both apart.
#[cfg(target_os = "linux")]
#[test]
fn two_folders_of_one_name_are_one_class_and_told() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p, &[COMPOSED, "b"], 3, 0);
    picture(&p.join(DECOMPOSED).join("x.png"), 900);
    let report = told(folder.path(), &[]);
    assert_eq!(report["classes"][0]["train"], 4);
    assert!(report["notes"].to_string().contains("they are one class"));
}

#[test]
fn a_table_may_write_a_class_in_both_ways() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    let mut rows = String::new();
    for (i, class) in [COMPOSED, DECOMPOSED, "b", "b"].into_iter().enumerate() {
        picture(&p.join(format!("{i}.png")), i as u32);
        rows += &format!("{i}.png,{class}\n");
    }
    // The same picture again is no contradiction.
    rows += &format!("0.png,{DECOMPOSED}\n");
    fs::write(folder.path().join("table.csv"), rows).unwrap();
    let report = told(folder.path(), &["--labels", "table.csv"]);
    assert_eq!(report["classes"][1]["name"], COMPOSED);
    assert_eq!(report["classes"][1]["train"], 3);
    let mut data = in_folder(folder.path());
    data.args("data p --labels table.csv --image-size 8".split(' '));
    data.assert().success().stdout(contains(COMPOSED));
}
