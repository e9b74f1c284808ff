// Says so where totals over time add up snapshots of the same thing, such as memory in use.
import { useAnswer } from '../../parts/answer';
import { usePage } from '../../parts/page';
import { ask } from '../sql/ask';
import { quoted } from '../sql/examples';

export function SnapshotNote({ type }: { type: string }) {
  const { now } = usePage();
  const { answer } = useAnswer(type === '' ? '' : `${type} ${now}`, async (signal) => {
    const statement = `SELECT DISTINCT temporality FROM series WHERE profile_type = ${quoted(type)}`;
    return (await ask(statement, 0, signal)).rows.flat().map(String);
  });
  const found = answer.state === 'ready' ? answer.value : [];
  if (!found.some((each) => each === 'instant' || each === 'cumulative')) return null;
  return (
    <p className="hint">
      Profiles of this type say what is there at a moment: totals of services add up all profiles of the range, values of
      functions {found.includes('instant') ? 'are the average' : 'are those of the last one'}.
    </p>
  );
}
