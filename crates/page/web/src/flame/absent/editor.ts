// An editor that no flame graph opens.
export default {};
export const loader = { config() {} };
export const Editor = () => null;
