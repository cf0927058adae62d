import { useEffect, useRef, useState } from 'preact/hooks';

/** A code editor; a plain text field until it is there, or where it cannot be. `epoch` changes when the text is replaced from outside. */
export function Code({ label, text, language, onChange, onSubmit, readOnly, epoch = 0 }) {
  const host = useRef();
  const editor = useRef();
  const live = useRef({});
  live.current = { onChange, onSubmit, text, language };
  const [ready, setReady] = useState(false);
  useEffect(() => {
    let gone = false;
    import('./editor.js').then(({ edit }) => {
      if (gone) return;
      editor.current = edit(host.current, {
        text: live.current.text, name: live.current.language, label, readOnly, onChange: (t) => live.current.onChange?.(t),
        onSubmit: onSubmit && (() => live.current.onSubmit()),
      });
      setReady(true);
    }).catch(() => {}); // the text field does
    return () => { gone = true; editor.current?.destroy(); editor.current = null; };
  }, []);
  useEffect(() => { editor.current?.speak(language); }, [language]);
  useEffect(() => { if (epoch) editor.current?.replace(live.current.text); }, [epoch]);
  return (
    <>
      <div ref={host} class={`editor ${readOnly ? '' : 'written'}`} />
      {ready ? null : (
        <textarea class="code" aria-label={label} rows={12} spellcheck={false} readOnly={readOnly} value={text}
          onInput={(e) => onChange?.(e.currentTarget.value)} onKeyDown={(e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) onSubmit?.(); }} />
      )}
    </>
  );
}
