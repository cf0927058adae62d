
// The program's side: calls come in, a line each, and results go out, a line each. It holds no test, and nothing that it
// says is believed beyond "this is what was returned", so it need not be kept from the program that it runs.
const fs = require('fs');
const vm = require('vm');
const calls = fs.readFileSync(0, 'utf8').split('\n').filter((line) => line);
const say = (line) => fs.writeSync(1, line + '\n');
for (const name of ['log', 'info', 'debug']) console[name] = console.error; // what the program prints is not among the results
process.stdout.write = (...args) => process.stderr.write(...args);
globalThis.require = require;
globalThis.module = {exports: {}};
// as a script, whose functions and constants are seen by the scripts that come after it
vm.runInThisContext(fs.readFileSync('solution.js', 'utf8'), {filename: 'solution.js'});
for (const line of calls) {
  const call = JSON.parse(line);
  let text;
  try {
    const f = vm.runInThisContext(call.f);
    text = JSON.stringify({v: encode(f(...call.a.map(decode)))});
  } catch (e) {
    text = JSON.stringify({x: [String(e && e.name)], m: String(e && e.message).slice(0, 1000)});
  }
  say(text);
}
process.exit(0); // whatever the program has left running
