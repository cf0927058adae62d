
// The test's side: runs the test with what the program has returned. It never shares a box with the program; what came
// from there is data. Exit status 42: passed; 43: not; anything else is a fault of the test.
const [, , input, answer, folder] = process.argv;
const linesOf = (text) => text === '' ? [] : (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
const spec = JSON.parse(fs.readFileSync(answer, 'utf8'));
const calls = linesOf(fs.readFileSync(input, 'utf8'));
const results = linesOf(fs.readFileSync(0, 'utf8'));

function end(passed, why) {
  fs.writeFileSync(folder + '/judgemessage.txt', why + '\n');
  process.exit(passed ? 42 : 43);
}

let at = 0, last = '';
function call(name, args) {
  if (at >= calls.length) throw new CallFailed('the test makes more calls than were recorded of it');
  if (JSON.stringify({f: name, a: args.map(encode)}) !== calls[at])
    throw new CallFailed('call ' + (at + 1) + ' is not the one that was recorded: its arguments come from an earlier result');
  if (at >= results.length) throw new CallFailed('the program ended before call ' + (at + 1));
  last = results[at].slice(0, 500);
  const result = JSON.parse(results[at++]);
  if (result !== null && typeof result === 'object' && 'v' in result) return decode(result.v);
  const e = new Error(String(result.m));
  e.name = String(result.x[0]);
  throw e;
}

if (results.length > calls.length) end(false, 'it gave ' + results.length + ' results to ' + calls.length + ' calls');
let failed;
try {
  failed = runTest(spec, call);
} catch (e) {
  end(false, String(e && e.name) + ': ' + String(e && e.message).slice(0, 1000) + '\ncall ' + at + ' gave ' + last);
}
if (failed.length !== 0) end(false, failed[0] + '\ncall ' + at + ' gave ' + last);
end(true, at + ' calls');
