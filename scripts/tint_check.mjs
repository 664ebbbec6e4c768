// Compiles one WGSL file with Tint, the compiler of Chrome: node tint_check.mjs FILE
// One file per process, as Dawn's bindings for node may hang when they serve several.
import { readFileSync } from 'node:fs';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const file = process.argv[2];
const code = readFileSync(file, 'utf8');
// The null backend validates and executes nothing. No limit is asked for, and no feature but f16 by what is
// written in it, so what passes is within WebGPU's guarantees.
const adapter = await create(['backend=null']).requestAdapter();
const requiredFeatures = /^enable f16;/m.test(code) ? ['shader-f16'] : [];
const device = await adapter.requestDevice({ requiredFeatures });
device.pushErrorScope('validation');
const module = device.createShaderModule({ code });
for (const entry of code.matchAll(/@compute[^{]*?fn (\w+)/g)) {
    device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: entry[1] } });
}
const info = await module.getCompilationInfo();
const messages = info.messages.map((m) => `${m.type} in line ${m.lineNum}: ${m.message}`);
const error = await device.popErrorScope();
if (error) messages.push(error.message);
console.log([`${messages.length ? 'FAIL' : 'pass'}  ${file}`, ...messages].join('\n      '));
// Dawn's threads would keep node alive.
process.exit(messages.length ? 1 : 0);
