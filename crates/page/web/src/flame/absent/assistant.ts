// The flame graph imports a button of Grafana's assistant, which is not there outside of Grafana.
export const OpenAssistantButton = () => null;
