//! The keyed counter as a virtual object of Restate: one state read and one state write per call, which answers the sum.
use std::io::Read;

use restate_sdk::prelude::*;

struct KeyedCounter;

#[restate_sdk::object]
impl KeyedCounter {
    #[handler]
    async fn add(&self, context: ObjectContext<'_>, more: i64) -> Result<i64, HandlerError> {
        let sum = context.get::<i64>("count").await?.unwrap_or(0) + more;
        context.set("count", sum);
        Ok(sum)
    }
}

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).expect("give an address to listen on");
    std::thread::spawn(|| {
        // It ends when its standard input does, hence also when whoever started it is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let endpoint = Endpoint::builder().bind(KeyedCounter).build();
    HttpServer::new(endpoint).listen_and_serve(address.parse().expect("an address is host:port")).await;
}
