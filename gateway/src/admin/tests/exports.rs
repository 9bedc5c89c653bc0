//! Export rules one by one, which of them decides, limits of clients, groups of users.

use super::*;

fn clients(policy: &Value) -> Vec<&str> {
    policy["rules"].as_array().unwrap().iter().map(|rule| rule["client"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn rules_are_edited_one_by_one_and_take_effect_at_once() {
    let node = Node::with_vserver().await;
    let policy = "/vservers/vs/export-policies/default";
    let edit = async |body: Value| node.ask("POST", &format!("{policy}/rules"), Some(body)).await;
    let served = node.state.cluster.served("vs").unwrap();
    let write = |client: &str| {
        let access = served.vserver.exports().check("default", client.parse().unwrap(), 2000);
        access.map(|access| access.write)
    };
    assert_eq!(write("10.1.1.1"), None);
    let (status, shown) = edit(json!({"rule": {"client": "*", "write": false}})).await;
    assert_eq!((status, clients(&shown)), (200, vec!["127.0.0.0/8", "::1/128", "*"]));
    assert_eq!(write("10.1.1.1"), Some(false));
    let rule = json!({"client": "10.1.0.0/16", "write": true, "secure": true});
    let (status, shown) = edit(json!({"index": 3, "rule": rule})).await;
    assert_eq!((status, clients(&shown)), (200, vec!["127.0.0.0/8", "::1/128", "10.1.0.0/16", "*"]));
    assert_eq!(write("10.1.1.1"), None, "not from that port");

    let check = async |query: &str| node.get(&format!("{policy}/check?{query}")).await;
    let checked = check("client=10.1.1.1").await;
    assert_eq!((&checked["access"], &checked["index"]), (&json!("rw"), &json!(3)));
    let checked = check("client=10.1.1.1&port=2000").await;
    assert_eq!((&checked["access"], &checked["rule"]["client"]), (&json!("none"), &json!("10.1.0.0/16")));
    assert!(checked["why"].as_str().unwrap().contains("port below 1024"), "{checked}");
    assert_eq!(check("client=192.0.2.1").await["access"], json!("ro"));

    assert_eq!(node.ask("DELETE", &format!("{policy}/rules/3"), None).await.0, 200);
    assert_eq!(write("10.1.1.1"), Some(false));
    let (status, _) = edit(json!({"index": 1, "rule": {"client": "localhost", "write": false}})).await;
    assert_eq!(
        (status, check("client=127.0.0.1").await["index"].clone()),
        (200, json!(1)),
        "its addresses are known"
    );
    assert_eq!(write("127.0.0.1"), Some(false));
    assert_eq!(node.ask("DELETE", &format!("{policy}/rules/1"), None).await.0, 200);
    let (status, problem) = node.ask("DELETE", &format!("{policy}/rules/9"), None).await;
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("the policy has 3")), (400, true));
    let (status, problem) = edit(json!({"rule": {"client": "10.0.0.0/40", "write": true}})).await;
    assert!(status == 400 || status == 422, "{status} {problem}");
    assert!(problem.to_string().contains("10.0.0.0/40"), "{problem}");
}

#[tokio::test]
async fn limits_of_clients_and_groups_of_users_are_kept() {
    let node = Node::with_vserver().await;
    let limits = json!({"limit_bytes_per_s": 1 << 20, "client_limit_ops_per_s": 50});
    assert_eq!(node.ask("PUT", "/vservers/vs/qos", Some(limits)).await.0, 200);
    let low = json!({"limit_ops_per_s": 1});
    assert_eq!(node.ask("PUT", "/vservers/vs/qos", Some(low)).await.0, 400);
    let extended = Some(json!({"extended_groups": true}));
    assert_eq!(node.ask("PATCH", "/vservers/vs", extended).await.1["extended_groups"], json!(true));
    node.state.cluster.stop().await;
    node.state.cluster.start().await.unwrap();
    let qos = node.get("/vservers/vs/qos").await;
    assert_eq!(qos["limit_bytes_per_s"], json!(1 << 20));
    assert_eq!((&qos["client_limit_ops_per_s"], &qos["limit_ops_per_s"]), (&json!(50), &Value::Null));
    assert_eq!(node.get("/vservers/vs").await["extended_groups"], json!(true));
    assert!(node.state.cluster.served("vs").unwrap().vserver.groups.of(0).await.is_some());
}
