//! Peaks of some cards, for predicting what they would reach.
use crate::plan::Roofline;
use anyhow::{Result, bail};

/// Name, f32 TFLOPS (boost clock, without matrix units), GB/s; each from its maker's data sheet or product page.
const CARDS: [(&str, f64, f64); 14] = [
    // NVIDIA: data sheets of the H100, A100, V100 and T4; Ada and Ampere architecture white papers.
    ("H100 SXM", 67.0, 3350.0),
    ("H100 PCIe", 51.0, 2000.0),
    ("A100 SXM", 19.5, 2039.0),
    ("V100 SXM2", 15.7, 900.0),
    ("T4", 8.1, 320.0),
    ("RTX 4090", 82.6, 1008.0),
    ("RTX 3090", 35.6, 936.0),
    // AMD: product pages. RDNA 3's figure counts its dual issue.
    ("RX 7900 XTX", 61.4, 960.0),
    ("RX 6800 XT", 20.7, 512.0),
    // Intel: product specifications (Xe cores × 256 × clock), LPDDR for the integrated ones.
    ("Arc A770", 19.7, 560.0),
    ("Arc 140V", 4.1, 137.0),
    ("Iris Xe", 2.2, 68.0),
    // Apple: press releases name the bandwidth and the M2 Pro's 6.8 TFLOPS.
    ("M2 Pro", 6.8, 200.0),
    ("M1", 2.6, 68.0),
];

/// The card of this name, in any case, with its name as the table has it.
///
/// # Errors
/// When the table does not have it.
pub fn find(name: &str) -> Result<(&'static str, Roofline)> {
    let known = CARDS.iter().find(|(n, ..)| n.eq_ignore_ascii_case(name));
    let Some(&(name, tflops, gbs)) = known else {
        let names: Vec<&str> = CARDS.iter().map(|(name, ..)| *name).collect();
        bail!(
            "--card {name}: not in the table, which has {}; name its peaks by --peak TFLOPS --bandwidth GBS",
            names.join(", ")
        );
    };
    Ok((name, roofline(tflops, gbs)))
}

/// From TFLOPS and GB/s.
pub fn roofline(tflops: f64, gbs: f64) -> Roofline {
    Roofline {
        flops: tflops * 1e12,
        bandwidth: gbs * 1e9,
    }
}
