//! One run with the device's clock around every dispatch. Each takes a pass of its own, since only
//! passes can be timed everywhere; so the sum is a little longer than an ordinary run.
use super::compiled::Compiled;
use super::device::Device;
use crate::process::command;
use anyhow::{Result, ensure};
use std::ops::Range;

/// Dispatches whose times fit into one query set, which may hold 4,096 times.
const PER_SET: usize = 2048;

/// Runs the plan and returns the seconds that each dispatch took.
///
/// # Errors
/// When the adapter has no clock or the device fails.
pub fn run(device: &Device, plan: &Compiled) -> Result<Vec<f64>> {
    ensure!(
        device
            .wgpu
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY),
        "{} has no timestamps, so its kernels cannot be timed; run `{}` without --profile",
        device.name,
        command("bench")
    );
    let mut seconds = Vec::with_capacity(plan.calls.len());
    for range in plan.submits.ranges() {
        for start in range.clone().step_by(PER_SET) {
            let part = start..range.end.min(start + PER_SET);
            seconds.extend(run_part(device, plan, part)?);
        }
    }
    Ok(seconds)
}

fn run_part(device: &Device, plan: &Compiled, part: Range<usize>) -> Result<Vec<f64>> {
    let count = 2 * part.len();
    let queries = device.wgpu.create_query_set(&wgpu::QuerySetDescriptor {
        label: None,
        ty: wgpu::QueryType::Timestamp,
        count: count as u32,
    });
    let mut encoder = device.wgpu.create_command_encoder(&Default::default());
    for (i, call) in plan.calls[part].iter().enumerate() {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(2 * i as u32),
                end_of_pass_write_index: Some(2 * i as u32 + 1),
            }),
        });
        call.encode(&mut pass);
    }
    use wgpu::BufferUsages as Usage;
    let bytes = 8 * count;
    let resolved = device.buffer(bytes, Usage::QUERY_RESOLVE | Usage::COPY_SRC);
    encoder.resolve_query_set(&queries, 0..count as u32, &resolved, 0);
    device.queue.submit([encoder.finish()]);
    let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&device.download(&resolved, 0, bytes)?);
    let period = f64::from(device.queue.get_timestamp_period()) * 1e-9;
    let seconds = |pair: &[u64]| pair[1].saturating_sub(pair[0]) as f64 * period;
    Ok(ticks.chunks_exact(2).map(seconds).collect())
}
