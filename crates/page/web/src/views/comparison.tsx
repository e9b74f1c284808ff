export default function Comparison() {
  return <div data-testid="view-comparison" data-state="loading" />;
}
