// Bundles the dashboard and lays Swagger UI beside it. Runs where npm has put the libraries (see the script build).
//
// A file's name holds a hash of what is in it, in the letters that the server's router takes, so browsers may keep it for ever.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import * as esbuild from 'esbuild';

const out = 'www';
const FIRST_VIEW_MAX = 300 * 1024; // compressed with gzip, which every browser takes

const built = await esbuild.build({
  entryPoints: { main: 'src/main.jsx', style: 'src/style.css' },
  bundle: true, splitting: true, format: 'esm', target: ['es2022'], minify: true, legalComments: 'none', metafile: true, write: false,
  jsx: 'automatic', jsxImportSource: 'preact', outdir: 'ui', entryNames: '[name]-[hash]', chunkNames: '[name]-[hash]', assetNames: '[name]-[hash]',
  logLevel: 'warning',
});

const hash = (bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 10);
const named = (name, bytes) => `${basename(name, extname(name)).replace(/-[A-Z0-9]{8}$/, '').toLowerCase()}-${hash(bytes)}${extname(name)}`;

// esbuild's names hold hashes of all that is behind them, so new names may be made of the old contents
const renamed = new Map(built.outputFiles.map((f) => [basename(f.path), named(f.path, f.contents)]));
const pattern = new RegExp([...renamed.keys()].map((n) => n.replace(/[.]/g, '\\.')).join('|'), 'g');
const files = new Map(built.outputFiles.map((f) => [`ui/${renamed.get(basename(f.path))}`, f.text.replace(pattern, (n) => renamed.get(n))]));

// the plot's styles are esbuild's own file beside the script that imports it; the page has one sheet
const entry = (from) => renamed.get(basename(Object.entries(built.metafile.outputs).find(([, o]) => o.entryPoint === from)[0]));
const main = entry('src/main.jsx');
const sheets = [entry('src/style.css'), ...[...renamed.values()].filter((n) => n.endsWith('.css') && n !== entry('src/style.css'))];
const css = sheets.map((n) => files.get(`ui/${n}`)).join('');
for (const n of sheets) files.delete(`ui/${n}`);
const sheet = `style-${hash(css)}.css`;
files.set(`ui/${sheet}`, css);
const icon = readFileSync('src/icon.svg');
const iconName = `icon-${hash(icon)}.svg`;
files.set(`ui/${iconName}`, icon);
const ours = { 'main.js': main, 'main.css': sheet, 'icon.svg': iconName };
files.set('index.html', readFileSync('src/index.html', 'utf8').replace(/@([\w.]+)@/g, (_, n) => `ui/${ours[n]}`));

const dist = 'node_modules/swagger-ui-dist';
for (const n of ['swagger-ui.css', 'swagger-ui-bundle.js']) files.set(`swagger/${n}`, readFileSync(join(dist, n), 'utf8').replace(/\n?\/[/*]# sourceMappingURL=.*$/s, ''));
for (const n of ['index.html', 'start.js', 'contrast.css']) files.set(`swagger/${n}`, readFileSync(join('swagger', n)));
files.set('swagger/icon.svg', icon);

// ---- licences of all that went in ----------------------------------------------------------------------

const packages = new Set(['swagger-ui-dist']);
for (const input of Object.keys(built.metafile.inputs)) {
  const m = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (m) packages.add(m[1]);
}
const licences = [...packages].sort().map((name) => {
  const dir = join('node_modules', name);
  const about = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const texts = readdirSync(dir).filter((f) => /^(licen[cs]e|copying|notice|.*\.license\.txt)/i.test(f) && (name !== 'swagger-ui-dist' || /^(LICENSE|NOTICE|swagger-ui-bundle\.js\.LICENSE\.txt)$/.test(f)));
  if (!texts.some((f) => /licen[cs]e|copying/i.test(f))) throw new Error(`${name} has no licence text`);
  return `${'='.repeat(78)}\n${name} ${about.version} (${about.license})\n${'='.repeat(78)}\n\n${texts.map((f) => readFileSync(join(dir, f), 'utf8').trim()).join('\n\n')}\n`;
});
files.set('ui/licenses.txt', `The dashboard and Swagger UI contain these libraries.\n\n${licences.join('\n')}`);

// ---- writing -------------------------------------------------------------------------------------------

rmSync(out, { recursive: true, force: true });
for (const d of ['ui', 'swagger']) mkdirSync(join(out, d), { recursive: true });
const sizes = {};
for (const [name, content] of files) {
  const bytes = Buffer.from(content);
  const forms = [
    ['', bytes],
    ['.gz', gzipSync(bytes, { level: 9 })],
    ['.br', brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } })],
  ];
  sizes[name] = forms.map(([, b]) => b.length);
  for (const [suffix, b] of forms) if (suffix === '' || (b.length < bytes.length && bytes.length > 500)) writeFileSync(join(out, name + suffix), b);
}

// what a browser fetches before anything is clicked: the page, its sheet, its icon, the script and what that imports at once
const behind = (output, seen = new Set()) => {
  if (seen.has(output)) return seen;
  seen.add(output);
  for (const i of built.metafile.outputs[output].imports) if (i.kind === 'import-statement') behind(i.path, seen);
  return seen;
};
const start = Object.keys(built.metafile.outputs).find((o) => renamed.get(basename(o)) === main);
const first = ['index.html', `ui/${sheet}`, `ui/${iconName}`, ...[...behind(start)].map((o) => `ui/${renamed.get(basename(o))}`)];
const total = (i) => first.reduce((n, f) => n + sizes[f][i], 0);
if (total(1) > FIRST_VIEW_MAX) throw new Error(`the first view is ${total(1)} bytes compressed; the bound is ${FIRST_VIEW_MAX}`);
writeFileSync('sizes.json', JSON.stringify({ first, identity: total(0), gzip: total(1), brotli: total(2), files: sizes }, null, 1));
if (!existsSync(join(out, 'index.html'))) throw new Error('nothing was written');
console.log(`dashboard: first view ${Math.round(total(1) / 1024)} KiB gzip, ${Math.round(total(2) / 1024)} KiB brotli; ${files.size} files`);
