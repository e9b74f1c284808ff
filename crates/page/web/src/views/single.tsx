export default function Single() {
  return <div data-testid="view-single" data-state="loading" />;
}
