// Values that cross between the program and the test's side, as JSON. What is plain in both is itself; all else is an
// object of one member, its tag: "d" object, "m" Map, "s" Set, "n" a number that JSON has not, "i" BigInt, "u" undefined,
// "t" Date, "o" what has no plain form, by its name. Nothing that is decoded can have methods of its own.
'use strict';
const plain = Object.getPrototypeOf;

class Opaque {
  constructor(kind) { this.kind = kind; }
  [Symbol.toPrimitive]() { throw new TypeError('a value of kind ' + this.kind + ' is not plain data'); }
}

function encode(v) {
  switch (typeof v) {
  case 'boolean': case 'string': return v;
  case 'number': return Number.isFinite(v) && !Object.is(v, -0) ? v : {n: Object.is(v, -0) ? '-0' : String(v)};
  case 'undefined': return {u: 0};
  case 'bigint': return {i: String(v)};
  case 'object': break;
  default: return {o: typeof v};
  }
  if (v === null) return null;
  if (Array.isArray(v)) return Array.from(v, encode);
  if (v instanceof Map) return {m: Array.from(v, ([k, x]) => [encode(k), encode(x)])};
  if (v instanceof Set) return {s: Array.from(v, encode)};
  if (v instanceof Date) return {t: encode(v.getTime())};
  if (plain(v) === Object.prototype || plain(v) === null) return {d: Object.entries(v).map(([k, x]) => [k, encode(x)])};
  return {o: String(v.constructor && v.constructor.name)};
}

function decode(v) {
  if (Array.isArray(v)) return v.map(decode);
  if (v === null || typeof v !== 'object') return v;
  const tags = Object.keys(v);
  if (tags.length !== 1) throw new Error('not one tag');
  const x = v[tags[0]];
  switch (tags[0]) {
  case 'd': {
    const out = {};
    for (const [k, y] of x) Object.defineProperty(out, String(k), {value: decode(y), enumerable: true, writable: true, configurable: true});
    return out;
  }
  case 'm': return new Map(x.map(([k, y]) => [decode(k), decode(y)]));
  case 's': return new Set(x.map(decode));
  case 'n': return Number(x);
  case 'i': return BigInt(x);
  case 'u': return undefined;
  case 't': return new Date(decode(x));
  case 'o': return new Opaque(String(x));
  default: throw new Error('an unknown tag');
  }
}
