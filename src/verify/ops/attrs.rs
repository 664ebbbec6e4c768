//! A case's attributes: what changes the result must be understood, remarks may be there.
use crate::kernels::Window;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

/// Attributes that only describe the tensors.
const REMARKS: [&str; 14] = [
    "n", "c", "h", "w", "c_in", "c_out", "in", "out", "classes", "shape", "scale", "offset",
    "steps", "bias",
];

/// Options of PyTorch's that exist here with this one value.
const FIXED: [(&str, f64); 8] = [
    ("amsgrad", 0.0),
    ("ceil_mode", 0.0),
    ("count_include_pad", 1.0),
    ("dampening", 0.0),
    ("dilation", 1.0),
    ("groups", 1.0),
    ("maximize", 0.0),
    ("output_padding", 0.0),
];

/// The attributes of one case.
pub struct Attrs<'a>(&'a Map<String, Value>);

impl<'a> Attrs<'a> {
    /// Accepts the attributes when each is one of `known`, a remark, or has the only value there is.
    ///
    /// # Errors
    /// Naming the attribute that is not understood.
    pub fn new(attrs: &'a Map<String, Value>, known: &[&str]) -> Result<Attrs<'a>> {
        for (name, value) in attrs {
            let name = name.as_str();
            if name == "reduction" {
                ensure!(value == "mean", "the reduction {value} is not known");
            } else if let Some((_, only)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
                let number = value.as_f64().or(value.as_bool().map(f64::from));
                ensure!(
                    number == Some(*only),
                    "the attribute {name} = {value} is not supported"
                );
            } else {
                ensure!(
                    value.is_string() || known.contains(&name) || REMARKS.contains(&name),
                    "the attribute {name} = {value} is not known"
                );
            }
        }
        Ok(Attrs(attrs))
    }

    /// A number.
    ///
    /// # Errors
    /// When it is missing or not a number.
    pub fn number(&self, name: &str) -> Result<f64> {
        let value = self.0.get(name);
        let value = value.with_context(|| format!("the attribute {name} is missing"))?;
        as_number(name, value)
    }

    /// A number, or what PyTorch takes without it.
    ///
    /// # Errors
    /// When it is not a number.
    pub fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => as_number(name, value),
        }
    }

    /// A truth value, false where it is missing.
    ///
    /// # Errors
    /// When it is not a truth value.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(value) => value
                .as_bool()
                .with_context(|| format!("the attribute {name} = {value} is not true or false")),
        }
    }

    /// Two numbers.
    ///
    /// # Errors
    /// When they are missing or something else.
    pub fn pair(&self, name: &str) -> Result<[f64; 2]> {
        let pair = self.0.get(name).and_then(Value::as_array);
        let numbers = pair.and_then(|p| match p[..] {
            [ref a, ref b] => Some([a.as_f64()?, b.as_f64()?]),
            _ => None,
        });
        numbers.with_context(|| format!("the attribute {name} is not two numbers"))
    }

    /// `kernel`, `stride` and `pad`; a missing stride is `stride`, a missing padding 0.
    ///
    /// # Errors
    /// When the kernel is missing or a number is not whole.
    pub fn window(&self, stride: Option<usize>) -> Result<Window> {
        let kernel = whole("kernel", self.number("kernel")?)?;
        let stride = stride.unwrap_or(kernel);
        Ok(Window {
            kernel,
            stride: whole("stride", self.number_or("stride", stride as f64)?)?,
            pad: whole("pad", self.number_or("pad", 0.0)?)?,
        })
    }
}

fn as_number(name: &str, value: &Value) -> Result<f64> {
    value
        .as_f64()
        .with_context(|| format!("the attribute {name} = {value} is not a number"))
}

fn whole(name: &str, number: f64) -> Result<usize> {
    // Larger windows do not exist, and kernels visit every place of a window.
    ensure!(
        number.fract() == 0.0 && (0.0..=1024.0).contains(&number),
        "the attribute {name} = {number} is not a whole number from 0 to 1024"
    );
    Ok(number as usize)
}
