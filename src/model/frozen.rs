//! The layers that fine-tuning leaves as they are.
use super::Arch;
use anyhow::{Result, bail, ensure};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Parts of a network that are not trained: their parameters stay, and their BatchNorms normalise by the running
/// statistics, which stay too. The linear layer is always trained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(into = "String")]
pub struct Frozen {
    /// Bit 0 is the stem, bit `s` the stage `layer{s}`.
    parts: u32,
}

/// The most stages of a network, and more.
const STAGES: u32 = 31;

impl Frozen {
    /// Nothing: everything is trained.
    pub const NONE: Frozen = Frozen { parts: 0 };

    /// Whether a layer or parameter of this name is frozen, such as `layer1.0.bn1` or `conv1.weight`.
    pub fn holds(self, name: &str) -> bool {
        let module = name.split('.').next().unwrap_or(name);
        let part = match module {
            "conv1" | "bn1" => Some(0),
            _ => stage(module),
        };
        part.is_some_and(|part| self.parts & (1 << part) != 0)
    }

    /// Refuses stages that a network does not have.
    ///
    /// # Errors
    /// Naming the first of them.
    pub fn check(self, arch: &Arch) -> Result<()> {
        let stages = arch.stages.len();
        for part in 1..=STAGES {
            ensure!(
                self.parts & (1 << part) == 0 || part as usize <= stages,
                "layer{part} cannot be frozen: the network has the parts stem and layer1 to layer{stages}"
            );
        }
        Ok(())
    }
}

/// The number of a stage from 1 on.
fn stage(module: &str) -> Option<u32> {
    let stage = module.strip_prefix("layer")?.parse().ok()?;
    (1..=STAGES).contains(&stage).then_some(stage)
}

impl FromStr for Frozen {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Frozen> {
        let mut parts = 0;
        for part in text.split(',').map(str::trim) {
            let bit = match part {
                "stem" => 0,
                "fc" => bail!("fc, the linear layer, is always trained"),
                _ => match stage(part) {
                    Some(stage) => stage,
                    None => bail!("must be stem, layer1, layer2 and so on, with commas between"),
                },
            };
            parts |= 1 << bit;
        }
        Ok(Frozen { parts })
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut comma = "";
        for part in (0..=STAGES).filter(|part| self.parts & (1 << part) != 0) {
            match part {
                0 => write!(f, "{comma}stem")?,
                _ => write!(f, "{comma}layer{part}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl From<Frozen> for String {
    fn from(frozen: Frozen) -> String {
        frozen.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_written_and_found_by_name() {
        let frozen: Frozen = "layer2, stem".parse().unwrap();
        assert_eq!(frozen.to_string(), "stem,layer2");
        for (name, held) in [
            ("conv1.weight", true),
            ("bn1", true),
            ("layer2.0.conv1.weight", true),
            ("layer1.0.bn1", false),
            ("layer21.0.bn1", false),
            ("layer.0", false),
            ("bn_last.weight", false),
            ("fc.weight", false),
        ] {
            assert_eq!(frozen.holds(name), held, "{name}");
        }
        for wrong in ["", "head", "layer0", "layer99", "fc", "stem;layer1"] {
            assert!(wrong.parse::<Frozen>().is_err(), "{wrong}");
        }
    }
}
