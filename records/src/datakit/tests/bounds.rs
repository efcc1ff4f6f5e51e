//! Many buckets, and those of several threads.

use super::*;
use crate::datakit::buckets::{MOST, UNFOLDED};

#[test]
fn past_a_bound_requests_share_a_bucket_and_none_is_lost_before_the_last() {
    let asked = incoming();
    let mut all = aggregate([]);
    for number in 0..3 * MOST {
        assert!(all.add(&request(&asked, &format!("/{number}"), (1, 2), 3)));
    }
    assert_eq!(all.documents(), 3 * MOST as u64);
    let lines = lines(&mut all, Measurement::Httpflow);
    assert_eq!(lines.len(), UNFOLDED + 1);
    let rest: Vec<_> = lines.iter().filter(|line| line.contains("path=\"*\"")).collect();
    assert_eq!(rest.len(), 1);
    let count = 3 * MOST - UNFOLDED;
    assert!(
        rest[0].contains(&format!(
            "bytes_read={count}i,bytes_written={}i,count={count}i",
            2 * count
        )),
        "{}",
        rest[0]
    );
}

#[test]
fn past_the_last_bound_documents_are_left_out_and_counted() {
    let from = |number: u32| {
        let client = SocketAddr::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into(), 40_000);
        request(
            &flow(Direction::Ingress, &client.to_string(), "198.18.0.2:80"),
            "/",
            (1, 1),
            1,
        )
    };
    let most = MOST as u32;
    let mut all = aggregate([]);
    let taken = (0..most + 100).filter(|number| all.add(&from(*number))).count();
    assert_eq!(taken, MOST);
    let mut others = aggregate([]);
    (most - 10..most + 10).for_each(|number| assert!(others.add(&from(number))));
    assert_eq!(
        all.merge(others),
        10,
        "those that are there already find their place"
    );
    assert_eq!(all.documents(), MOST as u64 + 10);
    assert_eq!(lines(&mut all, Measurement::Httpflow).len(), MOST);
}

#[test]
fn threads_add_up_to_one() {
    let documents: Vec<_> = (0..100)
        .flat_map(|number| {
            let asks = flow(Direction::Egress, "198.18.0.2:5353", "198.18.0.53:53");
            [
                request(
                    &incoming(),
                    &format!("/{}", number % 7),
                    (number, 2 * number),
                    number,
                ),
                query(&asks, (number % 3) as i32, Some(number)),
            ]
        })
        .collect();
    let mut whole = aggregate(&documents);
    let mut parts = aggregate(&documents[..30]);
    assert_eq!(parts.merge(aggregate(&documents[30..170])), 0);
    assert_eq!(parts.merge(aggregate(&documents[170..])), 0);
    for measurement in Measurement::ALL {
        assert_eq!(lines(&mut whole, measurement), lines(&mut parts, measurement));
    }
}
