//! Makes one virtual machine run and waits to be killed: `hold RUN_DIR < PLAN.json`. The machine stays.

use driver::{ComputeDriver, Plan};
use driver_qemu::{QemuDriver, QemuOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run_dir = std::env::args().nth(1).ok_or("usage: hold RUN_DIR < PLAN.json")?;
    let plan: Plan = serde_json::from_reader(std::io::stdin())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let driver = QemuDriver::new(QemuOptions::new(run_dir));
        let observed = driver.ensure(&plan).await?;
        println!("{}", observed.pid.ok_or("the machine has ended already")?);
        std::future::pending::<()>().await;
        Ok(())
    })
}
