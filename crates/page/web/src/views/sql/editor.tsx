// The editor of statements: colours, completion of tables, columns and functions, and a key that runs.
import { autocompletion, closeBrackets, closeBracketsKeymap, completeFromList, completionKeymap } from '@codemirror/autocomplete';
import type { CompletionContext, CompletionResult } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { PostgreSQL, sql } from '@codemirror/lang-sql';
import { HighlightStyle, bracketMatching, syntaxHighlighting } from '@codemirror/language';
import { Compartment, EditorState, Prec, type Extension } from '@codemirror/state';
import { EditorView, keymap, lineNumbers, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';
import { FUNCTIONS, columnsFor, completions, type Table } from './catalog';

interface EditorProps {
  text: string;
  tables: readonly Table[];
  onText(text: string): void;
  onRun(): void;
  /** Is given what inserts a text at the cursor. */
  onReady(insert: (text: string) => void): void;
}

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--left)', fontWeight: '600' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--better)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--right)' },
  { tag: [tags.lineComment, tags.blockComment], color: 'var(--weak)', fontStyle: 'italic' },
  { tag: tags.typeName, color: 'var(--right)' },
]);

const look = EditorView.theme({
  '&': { backgroundColor: 'var(--back)', color: 'var(--text)', border: '1px solid var(--strong-line)', borderRadius: '4px' },
  '&.cm-focused': { outline: '2px solid var(--accent)', outlineOffset: '1px' },
  '.cm-content': { fontFamily: 'ui-monospace, "Liberation Mono", monospace', minHeight: '132px', caretColor: 'var(--text)' },
  '.cm-scroller': { maxHeight: '320px', overflow: 'auto' },
  '.cm-gutters': { backgroundColor: 'var(--panel)', color: 'var(--weak)', borderRight: '1px solid var(--line)' },
  '.cm-placeholder': { color: 'var(--weak)' },
  '.cm-tooltip': { backgroundColor: 'var(--raised)', color: 'var(--text)', border: '1px solid var(--strong-line)' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--accent-text)' },
  '.cm-completionDetail': { color: 'inherit' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--accent-weak)', outline: '1px solid var(--accent)' },
});

const functions = completeFromList(
  FUNCTIONS.map(({ name, usage, about }) => ({ label: name, type: 'function', detail: usage, info: about }))
);

/** What is completed: the tables with their columns, those of the tables that the statement names, and functions. */
function completing(tables: readonly Table[]): Extension {
  const columns = (context: CompletionContext): CompletionResult | null => {
    const word = context.matchBefore(/\w+/);
    if (!word && !context.explicit) return null;
    const before = context.state.sliceDoc(0, word?.from ?? context.pos);
    if (before.endsWith('.') || before.endsWith("'")) return null;
    const found = columnsFor(context.state.doc.toString(), tables);
    const options = found.map(({ name, type }) => ({ label: name, type: 'property', detail: type, boost: 1 }));
    return { from: word?.from ?? context.pos, options };
  };
  return [
    sql({ dialect: PostgreSQL, schema: completions(tables), upperCaseKeywords: true }),
    PostgreSQL.language.data.of({ autocomplete: columns }),
    PostgreSQL.language.data.of({ autocomplete: functions }),
  ];
}

export function Editor(props: EditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>();
  const language = useRef(new Compartment());
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    if (!place.current) return;
    const run = () => {
      latest.current.onRun();
      return true;
    };
    const changed = EditorView.updateListener.of((update) => {
      if (update.docChanged) latest.current.onText(update.state.doc.toString());
    });
    const { text, tables } = latest.current;
    const editor = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: text,
        extensions: [
          Prec.highest(keymap.of([{ key: 'Mod-Enter', run }])),
          keymap.of([...closeBracketsKeymap, ...completionKeymap, ...defaultKeymap, ...historyKeymap]),
          ...[history(), lineNumbers(), bracketMatching(), closeBrackets(), autocompletion({ icons: false })],
          ...[syntaxHighlighting(colours), look, EditorView.lineWrapping, placeholder('SELECT …'), changed],
          EditorView.contentAttributes.of({ 'aria-label': 'SQL statement', 'data-testid': 'sql-editor' }),
          language.current.of(completing(tables)),
        ],
      }),
    });
    view.current = editor;
    latest.current.onReady((inserted) => {
      editor.dispatch(editor.state.replaceSelection(inserted));
      editor.focus();
    });
    return () => editor.destroy();
  }, []);

  useEffect(() => {
    view.current?.dispatch({ effects: language.current.reconfigure(completing(props.tables)) });
  }, [props.tables]);

  useEffect(() => {
    const editor = view.current;
    if (!editor || editor.state.doc.toString() === props.text) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: props.text } });
  }, [props.text]);

  return <div ref={place} className="sql-editor" />;
}
