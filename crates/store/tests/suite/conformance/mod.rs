//! What every backend must do. Each check takes a fresh store and is one test per backend.

mod leases;
mod reads;
mod transactions;
mod watches;

macro_rules! on_every_backend {
    ($($check:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $check() {
                let bed = crate::backend::memory(crate::backend::ALL).await;
                super::$check(&*bed.store).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $check() {
                let bed = crate::backend::sqlite(crate::backend::ALL).await;
                super::$check(&*bed.store).await;
            })*
        }
    };
}
use on_every_backend;
