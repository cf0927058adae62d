// What was wanted beside what came, loaded when an output is wrong.

import { diffLines, diffWordsWithSpace } from 'diff';
import { visible } from './text.jsx';

const MOST = 64 * 1024;
const EDITS = 2000; // beyond that the two have little in common, and looking for it takes long

// white space that makes a line wrong is seen
const spaces = (text) => text.replace(/ /g, '·').replace(/\t/g, '→\t');

function words(from, to, want) {
  const parts = diffWordsWithSpace(from, to, { maxEditLength: EDITS });
  if (!parts) return visible(want === 'added' ? to : from);
  return parts.filter((p) => !p.added && !p.removed ? true : p[want]).map((p) => (p[want] ? <mark>{visible(spaces(p.value))}</mark> : visible(p.value)));
}

const lines = (text) => text.replace(/\n$/, '').split('\n');

function rows(expected, actual) {
  const parts = diffLines(expected, actual, { maxEditLength: EDITS });
  if (!parts) return null;
  const out = [];
  let a = 1;
  let b = 1;
  for (let i = 0; i < parts.length; i++) {
    const p = parts[i];
    if (!p.added && !p.removed) {
      for (const l of lines(p.value)) out.push({ kind: 'same', a: a++, b: b++, text: visible(l) });
      continue;
    }
    const other = parts[i + 1];
    const gone = p.removed ? lines(p.value) : [];
    const come = p.added ? lines(p.value) : other?.added ? lines(other.value) : [];
    if (p.removed && other?.added) i++;
    for (let n = 0; n < Math.max(gone.length, come.length); n++) {
      const [x, y] = [gone[n], come[n]];
      if (x !== undefined) out.push({ kind: 'gone', a: a++, text: y === undefined ? visible(x) : words(x, y, 'removed') });
      if (y !== undefined) out.push({ kind: 'come', b: b++, text: x === undefined ? visible(y) : words(x, y, 'added') });
    }
  }
  return out;
}

const SIGNS = { same: ' ', gone: '−', come: '+' };
const WORDS = { same: '', gone: 'expected', come: 'your output' };

/** A table of lines: − what was expected, + what came. */
export function compare(expected, actual) {
  const cut = expected.length > MOST || actual.length > MOST;
  const all = cut ? null : rows(expected, actual);
  if (!all) return <p class="note">The outputs are too long, or too different, to be set side by side.</p>;
  const ends = expected.endsWith('\n') !== actual.endsWith('\n');
  return (
    <figure class="block diff">
      <figcaption>Difference <span class="note">− expected, + came{ends ? `; ${expected.endsWith('\n') ? 'an end of line is missing at the end' : 'there is an end of line too many at the end'}` : ''}</span></figcaption>
      <div class="scroll" tabIndex={0} role="region" aria-label="Difference">
        <table>
          <tbody>{all.map((r) => (
            <tr class={r.kind}><td class="n">{r.a}</td><td class="n">{r.b}</td><td class="sign"><span class="hidden">{WORDS[r.kind]}</span><span aria-hidden="true">{SIGNS[r.kind]}</span></td><td><code>{r.text}</code></td></tr>
          ))}</tbody>
        </table>
      </div>
    </figure>
  );
}
