//! What golden cases claim of their results, held against their files before anything is computed.
use crate::cli::resnet;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Attributes that ask for a result of other dimensions than the file has, where no gradient contradicts them.
#[test]
fn the_result_of_a_golden_case_has_the_dimensions_of_its_file_before_it_is_computed() {
    let folder = TempDir::new().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let manifest = fs::read(golden.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    for (name, lies, word) in [
        (
            "conv_k3s1p1_n2c3k5_13x17",
            json!({ "pad": 1000 }),
            "2×2011×2015×5",
        ),
        (
            "conv_k3s1p1_n2c3k5_13x17",
            json!({ "pad": 65_535 }),
            "0 to 1024",
        ),
        (
            "maxpool_random_even",
            json!({ "kernel": 1024, "pad": 512, "stride": 1 }),
            "2×13×9×3",
        ),
        (
            "maxpool_random_even",
            json!({ "kernel": 65_535, "pad": 1 }),
            "0 to 1024",
        ),
    ] {
        let cases = manifest["ops"].as_array().unwrap().iter();
        let mut case = cases
            .clone()
            .find(|case| case["case"] == name)
            .unwrap()
            .clone();
        for (key, value) in lies.as_object().unwrap() {
            case["attrs"][key] = value.clone();
        }
        case["inputs"]
            .as_array_mut()
            .unwrap()
            .retain(|input| input != "dy");
        case["wants"]
            .as_object_mut()
            .unwrap()
            .retain(|want, _| want == "y");
        let file = case["file"].as_str().unwrap();
        fs::copy(golden.join(file), folder.path().join(file)).unwrap();
        let lie = json!({ "format": 1, "ops": [case], "networks": [] });
        fs::write(folder.path().join("manifest.json"), lie.to_string()).unwrap();
        let started = Instant::now();
        let verify = resnet()
            .args(["verify", "--device", "cpu", "--cases"])
            .arg(folder.path())
            .assert()
            .failure()
            .code(1);
        let said = String::from_utf8_lossy(&verify.get_output().stdout).to_string();
        assert!(said.contains(word), "{name} {lies}: {said}");
        assert!(started.elapsed() < Duration::from_secs(20), "{name} {lies}");
    }
}
