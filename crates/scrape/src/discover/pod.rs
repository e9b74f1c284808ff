//! A pod as label sets: one a port of a container, with the meta labels that Prometheus gives them.
//!
//! A container without ports is one target at the pod's address. A pod without an address is none. Init containers count, as
//! they do for Prometheus, and say so in `__meta_kubernetes_pod_container_init`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use crate::config::ADDRESS;
use crate::relabel::LabelMap;

/// What stands before the names of all meta labels of pods.
const META: &str = "__meta_kubernetes_";

/// The meta labels of a pod and of each of its ports.
pub(super) struct PodPorts {
    /// The pod's address.
    pub(super) ip: String,
    /// The labels that all ports share.
    pub(super) shared: LabelMap,
    /// One a port, or a container without ports.
    pub(super) ports: Vec<PodPort>,
}

/// A port of a container.
pub(super) struct PodPort {
    pub(super) container: String,
    /// Its name and its number; none for a container without ports.
    pub(super) port: Option<(String, i32)>,
    pub(super) is_init: bool,
    labels: LabelMap,
}

/// The ports of `pod`, if it has an address.
pub(super) fn pod_ports(pod: &Pod) -> Option<PodPorts> {
    let ip = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten().map(|container| (container, true));
    let containers = init.chain(spec.containers.iter().map(|container| (container, false)));
    let ports = containers.flat_map(|(container, is_init)| ports_of(container, is_init)).collect();
    Some(PodPorts { ip, shared: shared(pod), ports })
}

/// One label set a port of `pod`.
pub(super) fn label_sets(pod: &Pod) -> Vec<LabelMap> {
    let Some(PodPorts { ip, shared, ports }) = pod_ports(pod) else { return Vec::new() };
    let labels = |port: PodPort| {
        let mut labels = port.labels_with(&shared);
        labels.insert(ADDRESS.to_owned(), address(&ip, port.port.as_ref().map(|(_, number)| *number)));
        labels
    };
    ports.into_iter().map(labels).collect()
}

/// `ip`, in brackets if it needs them, and `port`.
pub(super) fn address(ip: &str, port: Option<i32>) -> String {
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    port.map_or(ip.clone(), |port| format!("{ip}:{port}"))
}

/// The labels that the pod itself has.
fn shared(pod: &Pod) -> LabelMap {
    let (meta, mut labels) = (&pod.metadata, LabelMap::new());
    let status = pod.status.as_ref();
    let spec = pod.spec.as_ref();
    let ready = status.and_then(|status| status.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready"));
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let single = [
        ("namespace", meta.namespace.as_deref()),
        ("pod_name", meta.name.as_deref()),
        ("pod_uid", meta.uid.as_deref()),
        ("pod_ip", status.and_then(|status| status.pod_ip.as_deref())),
        ("pod_host_ip", status.and_then(|status| status.host_ip.as_deref())),
        ("pod_phase", status.and_then(|status| status.phase.as_deref())),
        ("pod_node_name", spec.and_then(|spec| spec.node_name.as_deref())),
        ("pod_controller_kind", owner.map(|owner| owner.kind.as_str())),
        ("pod_controller_name", owner.map(|owner| owner.name.as_str())),
    ];
    for (name, value) in single {
        insert(&mut labels, name, value.unwrap_or_default());
    }
    if let Some(condition) = ready {
        insert(&mut labels, "pod_ready", &condition.status.to_lowercase());
    }
    insert_all(&mut labels, "pod_label", meta.labels.as_ref());
    insert_all(&mut labels, "pod_annotation", meta.annotations.as_ref());
    labels
}

fn insert_all(labels: &mut LabelMap, kind: &str, values: Option<&BTreeMap<String, String>>) {
    for (name, value) in values.into_iter().flatten() {
        let name = label_name(name);
        insert(labels, &format!("{kind}_{name}"), value);
        insert(labels, &format!("{kind}present_{name}"), "true");
    }
}

fn insert(labels: &mut LabelMap, name: &str, value: &str) {
    if !value.is_empty() {
        labels.insert(format!("{META}{name}"), value.to_owned());
    }
}

/// `name` as a label's name: what is no letter, digit or underscore becomes an underscore.
fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn ports_of(container: &Container, is_init: bool) -> Vec<PodPort> {
    match container.ports.as_deref().unwrap_or_default() {
        [] => vec![PodPort::new(container, None, is_init)],
        ports => ports.iter().map(|port| PodPort::new(container, Some(port), is_init)).collect(),
    }
}

impl PodPort {
    fn new(container: &Container, port: Option<&ContainerPort>, is_init: bool) -> Self {
        let mut labels = LabelMap::new();
        insert(&mut labels, "pod_container_name", &container.name);
        insert(&mut labels, "pod_container_image", container.image.as_deref().unwrap_or_default());
        insert(&mut labels, "pod_container_init", if is_init { "true" } else { "false" });
        if let Some(port) = port {
            insert(&mut labels, "pod_container_port_name", port.name.as_deref().unwrap_or_default());
            insert(&mut labels, "pod_container_port_number", &port.container_port.to_string());
            insert(&mut labels, "pod_container_port_protocol", port.protocol.as_deref().unwrap_or("TCP"));
        }
        Self {
            container: container.name.clone(),
            port: port.map(|port| (port.name.clone().unwrap_or_default(), port.container_port)),
            is_init,
            labels,
        }
    }

    /// Its labels and those that the pod's ports share.
    pub(super) fn labels_with(&self, shared: &LabelMap) -> LabelMap {
        shared.clone().into_iter().chain(self.labels.clone()).collect()
    }

    /// Whether it can be connected to.
    pub(super) fn is_tcp(&self) -> bool {
        self.labels.get("__meta_kubernetes_pod_container_port_protocol").is_none_or(|protocol| protocol == "TCP")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_pod_has_the_labels_that_prometheus_gives_it() {
        let pod: Pod = serde_json::from_str(
            r#"{
                "metadata": {
                    "name": "api-1", "namespace": "shop", "uid": "u1",
                    "labels": {"app.kubernetes.io/name": "api"}, "annotations": {"pyroscope.io/scrape": "true", "empty": ""},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api", "uid": "u0", "controller": true}]
                },
                "spec": {
                    "nodeName": "n1",
                    "initContainers": [{"name": "init", "image": "i:1"}],
                    "containers": [{"name": "api", "image": "a:1", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}]
                },
                "status": {"phase": "Running", "podIP": "fd00::1", "hostIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]}
            }"#,
        )
        .unwrap();
        let sets = label_sets(&pod);
        let addresses: Vec<&str> = sets.iter().map(|labels| labels[ADDRESS].as_str()).collect();
        assert_eq!(addresses, ["[fd00::1]", "[fd00::1]:80", "[fd00::1]:53"]);
        let shown: Vec<String> = sets[1].iter().map(|(name, value)| format!("{name}={value}")).collect();
        expect![[r#"
            __address__=[fd00::1]:80
            __meta_kubernetes_namespace=shop
            __meta_kubernetes_pod_annotation_pyroscope_io_scrape=true
            __meta_kubernetes_pod_annotationpresent_empty=true
            __meta_kubernetes_pod_annotationpresent_pyroscope_io_scrape=true
            __meta_kubernetes_pod_container_image=a:1
            __meta_kubernetes_pod_container_init=false
            __meta_kubernetes_pod_container_name=api
            __meta_kubernetes_pod_container_port_name=http
            __meta_kubernetes_pod_container_port_number=80
            __meta_kubernetes_pod_container_port_protocol=TCP
            __meta_kubernetes_pod_controller_kind=ReplicaSet
            __meta_kubernetes_pod_controller_name=api
            __meta_kubernetes_pod_host_ip=10.0.0.9
            __meta_kubernetes_pod_ip=fd00::1
            __meta_kubernetes_pod_label_app_kubernetes_io_name=api
            __meta_kubernetes_pod_labelpresent_app_kubernetes_io_name=true
            __meta_kubernetes_pod_name=api-1
            __meta_kubernetes_pod_node_name=n1
            __meta_kubernetes_pod_phase=Running
            __meta_kubernetes_pod_ready=true
            __meta_kubernetes_pod_uid=u1"#]]
        .assert_eq(&shown.join("\n"));
        assert!(label_sets(&Pod::default()).is_empty());
    }
}
