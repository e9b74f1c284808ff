//! What a pod's annotations say is scraped of it.
//!
//! | annotation | says |
//! |---|---|
//! | `pyroscope.io/scrape: "true"` | this pod is scraped |
//! | `pyroscope.io/port`, `…/scheme` | where; without a port, every TCP port of its containers |
//! | `pyroscope.io/application-name` | `service_name` |
//! | `pyroscope.io/profile-cpu-enabled`, `…-mem-…`, `…-goroutines-…`, `…-mutex-…`, `…-block-…` | which profiles: where one is `"true"`, those that are; else those of the job but those that are `"false"` |
//! | `profiles.grafana.com/KIND.scrape: "true"` | this kind of profile is scraped: `cpu`, `memory`, `goroutine`, `block`, `mutex`, `fgprof` |
//! | `profiles.grafana.com/KIND.port`, `.port_name`, `.scheme`, `.path` | where; without either port, every TCP port |
//! | `profiles.grafana.com/service_name`, `pyroscope.io/service_name` | `service_name` |
//!
//! Only running pods are scraped, and not their init containers. Each target has the labels `namespace`, `pod` and `container`
//! beside the meta labels, for relabelling to change.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::pod::{PodPort, PodPorts, address, pod_ports};
use crate::config::ADDRESS;
use crate::relabel::LabelMap;
use crate::target::{NOT_PROFILES, PROFILE_PATH, PROFILES, SCHEME};

const PYROSCOPE: &str = "pyroscope.io/";
const GRAFANA: &str = "profiles.grafana.com/";

/// Names in annotations, and the profiles they are about.
const PYROSCOPE_KINDS: [(&str, &str); 5] =
    [("cpu", "process_cpu"), ("mem", "memory"), ("goroutines", "goroutine"), ("mutex", "mutex"), ("block", "block")];
const GRAFANA_KINDS: [(&str, &str); 6] = [
    ("cpu", "process_cpu"),
    ("memory", "memory"),
    ("goroutine", "goroutine"),
    ("mutex", "mutex"),
    ("block", "block"),
    ("fgprof", "fgprof"),
];

/// What is scraped at some ports of a pod.
struct Wish {
    port: Option<i32>,
    port_name: Option<String>,
    labels: Vec<(&'static str, String)>,
}

/// The label sets of what the annotations of `pod` ask for.
pub(super) fn label_sets(pod: &Pod) -> Vec<LabelMap> {
    let none = BTreeMap::new();
    let annotations = Annotations(pod.metadata.annotations.as_ref().unwrap_or(&none));
    let wishes: Vec<Wish> = annotations.pyroscope().into_iter().chain(annotations.grafana()).collect();
    let is_running = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    if wishes.is_empty() || !is_running {
        return Vec::new();
    }
    let Some(ports) = pod_ports(pod) else { return Vec::new() };
    let service = annotations.service_name();
    wishes.iter().flat_map(|wish| wish.label_sets(&ports, service)).collect()
}

struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    fn get(&self, prefix: &str, name: &str) -> Option<&str> {
        self.0.get(&format!("{prefix}{name}")).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn is(&self, prefix: &str, name: &str, expected: &str) -> bool {
        self.get(prefix, name) == Some(expected)
    }

    fn service_name(&self) -> Option<&str> {
        self.get(PYROSCOPE, "service_name")
            .or_else(|| self.get(GRAFANA, "service_name"))
            .or_else(|| self.get(PYROSCOPE, "application-name"))
    }

    fn pyroscope(&self) -> Option<Wish> {
        if !self.is(PYROSCOPE, "scrape", "true") {
            return None;
        }
        let said = |value: &'static str| {
            let kinds = PYROSCOPE_KINDS.iter();
            kinds
                .filter(move |(kind, _)| self.is(PYROSCOPE, &format!("profile-{kind}-enabled"), value))
                .map(|(_, name)| *name)
        };
        let wanted: Vec<&str> = said("true").collect();
        let mut labels = Vec::new();
        if !wanted.is_empty() {
            labels.push((PROFILES, wanted.join(",")));
        } else {
            labels.push((NOT_PROFILES, said("false").collect::<Vec<_>>().join(",")));
        }
        labels.push((SCHEME, self.get(PYROSCOPE, "scheme").unwrap_or_default().to_owned()));
        Some(Wish { port: self.port(PYROSCOPE, "port"), port_name: None, labels })
    }

    fn grafana(&self) -> Vec<Wish> {
        let kinds = GRAFANA_KINDS.iter().filter(|(kind, _)| self.is(GRAFANA, &format!("{kind}.scrape"), "true"));
        let wish = |(kind, profile): &(&str, &str)| {
            let get = |name: &str| self.get(GRAFANA, &format!("{kind}.{name}")).map(str::to_owned);
            let labels = vec![
                (PROFILES, (*profile).to_owned()),
                (SCHEME, get("scheme").unwrap_or_default()),
                (PROFILE_PATH, get("path").unwrap_or_default()),
            ];
            Wish { port: self.port(GRAFANA, &format!("{kind}.port")), port_name: get("port_name"), labels }
        };
        kinds.map(wish).collect()
    }

    fn port(&self, prefix: &str, name: &str) -> Option<i32> {
        self.get(prefix, name)?.parse::<u16>().ok().filter(|port| *port > 0).map(i32::from)
    }
}

impl Wish {
    fn label_sets(&self, pod: &PodPorts, service: Option<&str>) -> Vec<LabelMap> {
        let own = || pod.ports.iter().filter(|port| !port.is_init);
        if let (Some(number), None) = (self.port, &self.port_name) {
            // the port may be one that no container declares; the container that does is named, else the first
            let declared = own().find(|port| port.port.as_ref().is_some_and(|(_, declared)| *declared == number));
            return declared
                .or_else(|| own().next())
                .map(|port| self.labels(pod, port, number, service))
                .into_iter()
                .collect();
        }
        let is_wanted = |name: &str| self.port_name.as_deref().is_none_or(|wanted| wanted == name);
        let declared = own().filter(|port| port.is_tcp()).filter_map(|port| Some((port, port.port.as_ref()?)));
        let wanted = declared.filter(|(_, (name, _))| is_wanted(name));
        wanted.map(|(port, (_, number))| self.labels(pod, port, *number, service)).collect()
    }

    fn labels(&self, pod: &PodPorts, port: &PodPort, number: i32, service: Option<&str>) -> LabelMap {
        let mut labels = port.labels_with(&pod.shared);
        let meta = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let own = [
            (ADDRESS, address(&pod.ip, Some(number))),
            ("namespace", meta("__meta_kubernetes_namespace")),
            ("pod", meta("__meta_kubernetes_pod_name")),
            ("container", port.container.clone()),
            ("service_name", service.unwrap_or_default().to_owned()),
        ];
        let all = own.into_iter().chain(self.labels.iter().cloned()).filter(|(_, value)| !value.is_empty());
        labels.extend(all.map(|(name, value)| (name.to_owned(), value)));
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(annotations: &[(&str, &str)], expected: Expect) {
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "api-1", "namespace": "shop", "annotations": annotations},
            "spec": {
                "initContainers": [{"name": "init", "ports": [{"containerPort": 1}]}],
                "containers": [
                    {"name": "api", "ports": [
                        {"name": "http", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    ]},
                    {"name": "side", "ports": [{"name": "pprof", "containerPort": 6060}]},
                ],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        }))
        .unwrap();
        let line = |labels: LabelMap| {
            let own = labels.into_iter().filter(|(name, _)| !name.starts_with("__meta_"));
            own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        expected.assert_eq(&label_sets(&pod).into_iter().map(line).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn the_annotations_of_pyroscope_name_a_pod_and_its_profiles() {
        check(&[], expect![""]);
        check(&[("pyroscope.io/scrape", "false"), ("pyroscope.io/port", "80")], expect![""]);
        check(
            &[("pyroscope.io/scrape", "true")],
            expect![[r#"
            __address__=10.0.0.1:80 container=api namespace=shop pod=api-1
            __address__=10.0.0.1:6060 container=side namespace=shop pod=api-1"#]],
        );
        check(
            &[
                ("pyroscope.io/scrape", "true"),
                ("pyroscope.io/port", "6060"),
                ("pyroscope.io/scheme", "https"),
                ("pyroscope.io/application-name", "shop.api"),
                ("pyroscope.io/profile-cpu-enabled", "true"),
                ("pyroscope.io/profile-mem-enabled", "true"),
            ],
            expect![
                "__address__=10.0.0.1:6060 __profiles__=process_cpu,memory __scheme__=https container=side namespace=shop pod=api-1 service_name=shop.api"
            ],
        );
        check(
            &[
                ("pyroscope.io/scrape", "true"),
                ("pyroscope.io/port", "1234"),
                ("pyroscope.io/profile-mem-enabled", "false"),
            ],
            expect!["__address__=10.0.0.1:1234 __not_profiles__=memory container=api namespace=shop pod=api-1"],
        );
    }

    #[test]
    fn the_annotations_of_alloy_name_each_profile() {
        check(
            &[
                ("profiles.grafana.com/memory.scrape", "true"),
                ("profiles.grafana.com/memory.port_name", "pprof"),
                ("profiles.grafana.com/memory.path", "/heap"),
                ("profiles.grafana.com/cpu.scrape", "true"),
                ("profiles.grafana.com/cpu.port", "8080"),
                ("profiles.grafana.com/cpu.scheme", "https"),
                ("profiles.grafana.com/block.scrape", "false"),
                ("profiles.grafana.com/mutex.scrape", "true"),
                ("profiles.grafana.com/mutex.port_name", "absent"),
                ("profiles.grafana.com/service_name", "api"),
            ],
            expect![[r#"
                __address__=10.0.0.1:8080 __profiles__=process_cpu __scheme__=https container=api namespace=shop pod=api-1 service_name=api
                __address__=10.0.0.1:6060 __profile_path__=/heap __profiles__=memory container=side namespace=shop pod=api-1 service_name=api"#]],
        );
    }
}
