export default function Diff() {
  return <div data-testid="view-diff" data-state="loading" />;
}
