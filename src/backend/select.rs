//! Which device a command runs on.
use super::Backend;
use super::cpu::Cpu;
use super::gpu::{Gpu, Options, adapters, cooperative};
use crate::kernels::precision::{Matmul, MatmulPrecision};
use crate::process::command;
use crate::tensor::DType;
use anyhow::{Result, bail};
use std::convert::Infallible;
use std::num::NonZeroUsize;
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

/// Opens the device, and returns a line for the user where a choice needs a word.
///
/// The options are for a GPU, the threads for the CPU. What images are `stored` as decides whether a GPU may
/// multiply at less than the highest precision. `WGPU_ADAPTER_NAME` stands in for a name where the choice is
/// `gpu` or `auto`.
///
/// # Errors
/// When there is no such adapter, more than one, or the driver refuses.
pub fn open(
    choice: &Choice,
    options: Options,
    threads: Option<NonZeroUsize>,
    precision: MatmulPrecision,
    stored: DType,
) -> Result<(Box<dyn Backend>, Option<String>)> {
    let open_cpu = |note: Option<String>| -> Result<(Box<dyn Backend>, Option<String>)> {
        let (matmul, fallback) = Matmul::choose(precision)?;
        Ok((
            Box::new(Cpu::open(threads, matmul)?),
            lines([note, fallback]),
        ))
    };
    let named = std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default();
    let (choice, asked_by) = match choice {
        Choice::Gpu | Choice::Auto if !named.is_empty() => {
            let name = named.to_lowercase();
            (&Choice::Adapter(name), format!("WGPU_ADAPTER_NAME={named}"))
        }
        Choice::Adapter(name) => (choice, format!("--device {name}")),
        _ => (choice, String::new()),
    };
    if *choice == Choice::Cpu {
        return open_cpu(None);
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
            return open_cpu(Some(note));
        }
        (Choice::Gpu, Some(adapter)) => adapter,
        (Choice::Gpu, None) => bail!(
            "--device gpu: no adapter found. `{}` lists what there is; on Debian and Ubuntu the drivers come by \
             `sudo apt-get install mesa-vulkan-drivers libvulkan1`; --device cpu needs none",
            command("devices")
        ),
        (Choice::Adapter(name), _) => {
            // With the backend, as one card may answer through two of them.
            let names = adapters
                .iter()
                .map(|a| format!("{} ({})", a.name, a.backend));
            &adapters[pick(&names.collect::<Vec<_>>(), name, &asked_by)?]
        }
        (Choice::Cpu, _) => unreachable!("opened above"),
    };
    let unchecked = (options.checked && !adapter.checks()).then(|| {
        format!(
            "--checked changes nothing on {} ({}): wgpu has no run-time checks there",
            adapter.name, adapter.backend
        )
    });
    let (cooperative, fallback) = cooperative::choose(adapter, options, precision, stored)?;
    let options = Options {
        cooperative,
        ..options
    };
    Ok((
        Box::new(Gpu::open(adapter, options)?),
        lines([unchecked, fallback]),
    ))
}

/// The notes that there are, one a line.
fn lines(notes: [Option<String>; 2]) -> Option<String> {
    notes
        .into_iter()
        .flatten()
        .reduce(|all, note| all + "\n" + &note)
}

/// The number of the adapter that `wanted`, in lower case, means: its number itself or a part of
/// the only name that has it.
fn pick(names: &[String], wanted: &str, asked_by: &str) -> Result<usize> {
    // A number that no adapter has may still be a part of a name, as in "RTX 4090".
    let matching: Vec<usize> = match wanted.parse::<usize>() {
        Ok(number) if number < names.len() => vec![number],
        _ => (0..names.len())
            .filter(|&i| names[i].to_lowercase().contains(wanted))
            .collect(),
    };
    if let [one] = matching[..] {
        return Ok(one);
    }
    let how_many = if matching.is_empty() {
        "no"
    } else {
        "more than one"
    };
    let list: String = names
        .iter()
        .enumerate()
        .map(|(i, name)| format!("\n  {i}  {name}"))
        .collect();
    bail!(
        "{asked_by}: {how_many} adapter has this number or name; `{}` shows{list}\n  cpu",
        command("devices")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_picked_by_number_or_part_of_its_name() {
        let names = [
            "GeForce RTX 4090 (Vulkan)",
            "GeForce RTX 4090 (Dx12)",
            "llvmpipe (Vulkan)",
        ]
        .map(String::from);
        assert_eq!(pick(&names, "1", "--device").unwrap(), 1);
        assert_eq!(pick(&names, "llvm", "--device").unwrap(), 2);
        assert_eq!(pick(&names[1..], "4090", "--device").unwrap(), 0);
        assert_eq!(pick(&names, "4090 (dx12", "--device").unwrap(), 1);
        let error = |wanted| pick(&names, wanted, "--device").unwrap_err().to_string();
        assert!(error("rtx").contains("more than one adapter"));
        assert!(error("7").contains("no adapter"));
        assert!(error("radeon").contains("\n  2  llvmpipe (Vulkan)\n  cpu"));
    }
}
