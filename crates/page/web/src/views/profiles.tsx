// Placeholder until the view is committed: it is not reachable from the navigation.
export default function Profiles() {
  return null;
}
