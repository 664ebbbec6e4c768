// What the weights of an average that starts at zero add up to: c = c + (1 - beta) * (1 - c), which from 0
// becomes 1 - beta^t without cancellation. Nothing moves in a step that is left out.

struct Params {
    count: u32,   // averages, at most 2
    scaled: u32,  // 1 where the learning rate is followed by 0 for a step that is left out
    first: f32,   // 1 - beta of the averages
    second: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rate: array<f32>;     // [1] or [2]
@group(0) @binding(2) var<storage, read_write> c: array<f32>;  // [count]

@compute @workgroup_size(1)
fn advance() {
    if (params.scaled == 1u && rate[1] == 0.0) {
        return;
    }
    c[0] += params.first * (1.0 - c[0]);
    if (params.count == 2u) {
        c[1] += params.second * (1.0 - c[1]);
    }
}
