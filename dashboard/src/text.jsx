// Texts that strangers made. They only ever become text nodes; what a terminal would act upon, or what would make text
// look like other text, is shown as a sign of its own.

const NAMES = ['NUL', 'SOH', 'STX', 'ETX', 'EOT', 'ENQ', 'ACK', 'BEL', 'BS', 'TAB', 'LF', 'VT', 'FF', 'CR', 'SO', 'SI', 'DLE', 'DC1', 'DC2',
  'DC3', 'DC4', 'NAK', 'SYN', 'ETB', 'CAN', 'EM', 'SUB', 'ESC', 'FS', 'GS', 'RS', 'US'];
// C0 without tab and line feed, DEL, C1; zero-width and invisible ones; marks and overrides of direction; BOM; tags
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;
const SHOWN = 64 * 1024;

const hex = (c) => `U+${c.toString(16).toUpperCase().padStart(4, '0')}`;

function sign(c) {
  const code = c.codePointAt(0);
  // names, since few fonts have the pictures of control characters
  return `\u27e8${code < 0x20 ? NAMES[code] : code === 0x7f ? 'DEL' : hex(code)}\u27e9`;
}

function named(c) {
  const code = c.codePointAt(0);
  return code < 0x20 ? `${NAMES[code]} (${hex(code)})` : code === 0x7f ? 'DEL (U+007F)' : hex(code);
}

/** The text as nodes, control characters visible. */
export function visible(text) {
  const nodes = [];
  let from = 0;
  for (const m of text.matchAll(CONTROL)) {
    if (m.index > from) nodes.push(text.slice(from, m.index));
    nodes.push(<span class="ctl" title={named(m[0])}>{sign(m[0])}</span>);
    from = m.index + m[0].length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}

/** The text of the member `name`; its bytes stand beside it, in base64, where they are not UTF-8. */
export function textOf(of, name) {
  const text = of[name];
  return text === undefined || text === null ? null : { text, binary: Boolean(of[`${name}_base64`]) };
}

/** A block of text, its beginning at least. */
export function Block({ label, text, note }) {
  const cut = text.length > SHOWN;
  return (
    <figure class="block">
      <figcaption>
        {label}
        {note ? <span class="note"> {note}</span> : null}
        {cut ? <span class="note"> the first {SHOWN / 1024} KiB are shown</span> : null}
      </figcaption>
      <pre tabIndex={0} role="region" aria-label={label}>{text === '' ? <i class="note">empty</i> : visible(cut ? text.slice(0, SHOWN) : text)}</pre>
    </figure>
  );
}
