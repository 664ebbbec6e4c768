//! Which device a command runs on.
use super::Backend;
use super::cpu::Cpu;
use super::gpu::{AdapterReport, Gpu, Options, adapters};
use anyhow::{Result, bail};
use std::convert::Infallible;
use std::str::FromStr;

/// What `--device` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The best real GPU, else the CPU.
    Auto,
    /// The native CPU backend.
    Cpu,
    /// The best adapter, a software one where there is no other.
    Gpu,
    /// The number of an adapter, or a part of its name.
    Adapter(String),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Choice, Infallible> {
        Ok(match text.to_lowercase().as_str() {
            "auto" => Choice::Auto,
            "cpu" => Choice::Cpu,
            "gpu" => Choice::Gpu,
            name => Choice::Adapter(name.to_string()),
        })
    }
}

/// Opens the device, and returns a line for the user where the choice needs a word.
///
/// `WGPU_ADAPTER_NAME` stands in for a name where the choice is `gpu` or `auto`.
///
/// # Errors
/// When there is no such adapter, more than one, or the driver refuses.
pub fn open(choice: &Choice) -> Result<(Box<dyn Backend>, Option<String>)> {
    let named = std::env::var("WGPU_ADAPTER_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    let choice = match (choice, named) {
        (Choice::Gpu | Choice::Auto, Some(name)) => &Choice::Adapter(name.to_lowercase()),
        _ => choice,
    };
    if *choice == Choice::Cpu {
        return Ok((Box::new(Cpu::new()?), None));
    }
    let adapters = adapters();
    let best = adapters.iter().min_by_key(|a| a.rank());
    let adapter = match (choice, best) {
        (Choice::Auto, Some(adapter)) if !adapter.is_software() => adapter,
        (Choice::Auto, _) => {
            let note = match best {
                Some(software) => format!(
                    "no GPU found, using the CPU ({} is a software adapter; --device gpu would take it)",
                    software.name
                ),
                None => "no GPU found, using the CPU".to_string(),
            };
            return Ok((Box::new(Cpu::new()?), Some(note)));
        }
        (Choice::Gpu, Some(adapter)) => adapter,
        (Choice::Gpu, None) => bail!(
            "--device gpu: no adapter found. `resnet devices` lists what there is; on Debian and Ubuntu \
             the drivers come by `sudo apt-get install mesa-vulkan-drivers libvulkan1`; \
             --device cpu needs none"
        ),
        (Choice::Adapter(name), _) => pick(&adapters, name)?,
        (Choice::Cpu, _) => unreachable!("opened above"),
    };
    Ok((Box::new(Gpu::open(adapter, Options::default())?), None))
}

/// The adapter with this number or the only one with this in its name.
fn pick<'a>(adapters: &'a [AdapterReport], name: &str) -> Result<&'a AdapterReport> {
    let list = || -> String {
        let names = adapters
            .iter()
            .enumerate()
            .map(|(i, a)| format!("\n  {i}  {}", a.name));
        names.chain(["\n  cpu".to_string()]).collect()
    };
    if let Ok(number) = name.parse::<usize>() {
        let Some(adapter) = adapters.get(number) else {
            bail!(
                "--device {number}: no adapter has this number; `resnet devices` shows{}",
                list()
            );
        };
        return Ok(adapter);
    }
    let mut matching = adapters
        .iter()
        .filter(|a| a.name.to_lowercase().contains(name));
    match (matching.next(), matching.next()) {
        (Some(adapter), None) => Ok(adapter),
        (Some(_), Some(_)) => {
            bail!(
                "--device {name}: more than one adapter has this in its name; `resnet devices` shows{}",
                list()
            )
        }
        (None, _) => bail!(
            "--device {name}: no adapter has this in its name; `resnet devices` shows{}",
            list()
        ),
    }
}
