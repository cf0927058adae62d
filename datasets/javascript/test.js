
// Runs a test whose calls of the program's functions are made by `call`. Each console.assert that does not hold is a failure.
const fs = require('fs');
const vm = require('vm');

class CallFailed extends Error {}

function runTest(spec, call) {
  const failed = [];
  const assert = (holds, ...what) => {
    if (holds === true || (holds && !(holds instanceof Opaque))) return;
    const at = /test:(\d+)/.exec(new Error().stack);
    failed.push(at ? 'line ' + at[1] + ': ' + spec.test.split('\n')[at[1] - 1].trim() : 'the test');
  };
  let seed = 1; // the same calls each time
  Math.random = () => (seed = seed * 16807 % 2147483647) / 2147483647;
  globalThis.require = require;
  console.assert = assert;
  vm.runInThisContext(spec.setup, {filename: 'setup'});
  for (const name of spec.names) globalThis[name] = (...args) => call(name, args);
  vm.runInThisContext(spec.test, {filename: 'test'});
  return failed;
}
