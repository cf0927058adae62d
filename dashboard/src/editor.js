// CodeMirror, loaded when code is written or read. It stands in a shadow root: there it brings its styles as constructed
// sheets, which a content-security policy without inline styles allows.

import { indentWithTab } from '@codemirror/commands';
import { HighlightStyle, indentUnit, StreamLanguage, syntaxHighlighting } from '@codemirror/language';
import { Compartment, EditorState, Prec } from '@codemirror/state';
import { EditorView, keymap } from '@codemirror/view';
import { tags as t } from '@lezer/highlight';
import { basicSetup } from 'codemirror';

const old = (load, name) => async () => StreamLanguage.define((await load())[name]);
const LANGUAGES = {
  c: async () => (await import('@codemirror/lang-cpp')).cpp(),
  go: async () => (await import('@codemirror/lang-go')).go(),
  java: async () => (await import('@codemirror/lang-java')).java(),
  javascript: async () => (await import('@codemirror/lang-javascript')).javascript(),
  php: async () => (await import('@codemirror/lang-php')).php({ plain: false }),
  python: async () => (await import('@codemirror/lang-python')).python(),
  rust: async () => (await import('@codemirror/lang-rust')).rust(),
  ruby: old(() => import('@codemirror/legacy-modes/mode/ruby'), 'ruby'),
  lua: old(() => import('@codemirror/legacy-modes/mode/lua'), 'lua'),
  perl: old(() => import('@codemirror/legacy-modes/mode/perl'), 'perl'),
  bash: old(() => import('@codemirror/legacy-modes/mode/shell'), 'shell'),
};
const KINDS = [[/^c(pp|\+\+)?($|-)/, 'c'], [/^g(cc|\+\+)$/, 'c'], [/^(node|js|javascript|typescript)/, 'javascript'], [/^(python|pypy)/, 'python'], [/^(sh|bash|shell)$/, 'bash']];

async function language(name) {
  const kind = KINDS.find(([pattern]) => pattern.test(name || ''))?.[1] || name;
  return LANGUAGES[kind] ? LANGUAGES[kind]() : [];
}

// colours are those of the page, so that both follow its theme
const colours = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.operatorKeyword], color: 'var(--code-keyword)' },
  { tag: [t.string, t.special(t.string), t.character], color: 'var(--code-string)' },
  { tag: [t.number, t.bool, t.null], color: 'var(--code-number)' },
  { tag: [t.comment, t.meta], color: 'var(--code-comment)' },
  { tag: [t.function(t.variableName), t.definition(t.variableName)], color: 'var(--code-name)' },
  { tag: [t.typeName, t.className, t.namespace], color: 'var(--code-type)' },
]);
const look = EditorView.theme({
  '&': { color: 'var(--ink)', backgroundColor: 'var(--paper)', border: '1px solid var(--line-strong)', borderRadius: '6px', fontSize: '14px' },
  '&.cm-focused': { outline: '2px solid var(--accent)' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '20px', maxHeight: '65vh' },
  '.cm-content': { caretColor: 'var(--ink)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '.cm-gutters': { backgroundColor: 'var(--ground)', color: 'var(--muted)', borderRight: '1px solid var(--line)' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'var(--hover)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { backgroundColor: 'var(--select)' },
  '.cm-panels': { backgroundColor: 'var(--ground)', color: 'var(--ink)' },
  '.cm-tooltip': { backgroundColor: 'var(--paper)', color: 'var(--ink)', border: '1px solid var(--line-strong)' },
});

/** An editor in `host`. onChange hears each text, onSubmit Ctrl-Enter. */
export function edit(host, { text, name, label, readOnly = false, onChange = () => {}, onSubmit }) {
  const root = host.shadowRoot || host.attachShadow({ mode: 'open' });
  const grammar = new Compartment();
  const submit = { key: 'Mod-Enter', run: () => { onSubmit?.(); return true; } };
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text,
      extensions: [
        Prec.highest(keymap.of(onSubmit ? [submit] : [])), basicSetup, keymap.of([indentWithTab]), indentUnit.of('    '), grammar.of([]), look,
        syntaxHighlighting(colours), EditorState.readOnly.of(readOnly), EditorView.contentAttributes.of({ 'aria-label': label, tabindex: '0' }),
        EditorView.theme({ '.cm-content, .cm-gutter': { minHeight: readOnly ? '3rem' : '17rem' } }),
        EditorView.updateListener.of((u) => u.docChanged && onChange(u.state.doc.toString())),
      ],
    }),
  });
  const speak = (next) => language(next).then((l) => view.dispatch({ effects: grammar.reconfigure(l) }), () => {}); // without colours then
  speak(name);
  return {
    speak,
    replace: (next) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } }),
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}
