//! From an address to answers, and to a stop that loses none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::connection;
use crate::models::{Models, OpenError, ServedModel};
use crate::options::ServerOptions;
use crate::router::router;
use crate::state::{Phase, Shared};

/// Threads that read, tokenize and wait for scores: more than requests that wait and are computed.
const BLOCKING_THREADS: usize = 1024;
/// How long one of them waits for the next request before it ends.
const KEEP: Duration = Duration::from_secs(2);
/// Before the next try where the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is nothing to serve.
    #[error("no model was given to serve")]
    NoModel,
    /// Two models of one name.
    #[error("two models are named {name}; name them with NAME=PATH")]
    SameName {
        /// The name.
        name: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// As it was given.
        address: SocketAddr,
        /// The system's words.
        reason: String,
    },
    /// The system gave no threads.
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
    /// A model cannot be opened.
    #[error(transparent)]
    Model(OpenError),
}

/// A server that has an address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    models: Vec<ServedModel>,
    // After the listener, which needs it to be dropped.
    runtime: Runtime,
}

/// Stops a server, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Has [`Server::run`] return once what the server has taken on is answered.
    pub fn stop(&self) {
        self.0.enter(Phase::Stopping);
    }
}

impl Server {
    /// Listens; answers wait for [`Self::run`].
    ///
    /// # Errors
    /// A [`ServerError`] where there is no model, or the address is taken.
    pub fn bind(options: ServerOptions, models: Vec<ServedModel>) -> Result<Self, ServerError> {
        if models.is_empty() {
            return Err(ServerError::NoModel);
        }
        let mut names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        names.sort_unstable();
        if let Some(two) = names.windows(2).find(|two| two[0] == two[1]) {
            return Err(ServerError::SameName { name: two[0].to_string() });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("grating-request")
            .thread_keep_alive(KEEP)
            .build()
            .map_err(ServerError::Threads)?;
        let address = options.bind;
        let unbound =
            |error: std::io::Error| ServerError::Bind { address, reason: error.to_string() };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let shared = Arc::new(Shared::new(options, Models::new(&models)));
        Ok(Server { listener, address, shared, models, runtime })
    }

    /// Where it listens; says which port was free where port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.shared))
    }

    /// Opens the models and answers until it is stopped.
    ///
    /// # Errors
    /// Where a model cannot be opened.
    pub fn run(self) -> Result<(), ServerError> {
        let Server { listener, shared, models, runtime, .. } = self;
        let (tell, opened) = oneshot::channel();
        let opening = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("grating-open".into())
            // Nobody listens where the server was stopped meanwhile.
            .spawn(move || tell.send(opening.models.open(models)))
            .map_err(ServerError::Threads)?;
        runtime.block_on(serve(listener, shared, opened))
    }
}

async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    opened: oneshot::Receiver<Result<(), OpenError>>,
) -> Result<(), ServerError> {
    let most = shared.options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
    let accepting = Accepting {
        router: router(Arc::clone(&shared)),
        connections: Arc::new(Semaphore::new(most)),
        shared: Arc::clone(&shared),
        listener,
    };
    let mut phase = shared.phase.subscribe();
    let told = async { drop(phase.wait_for(|phase| *phase >= Phase::Stopping).await) };
    tokio::pin!(told);
    tokio::select! {
        () = accepting.accept() => {}
        _ = &mut told => {}
        failed = failure(opened, &shared) => return Err(failed),
    }
    tracing::info!("stopping: requests that were taken on are answered");
    // Connections that were on their way, and requests on those that were idle.
    _ = timeout(shared.options.drain, accepting.accept()).await;
    // Those that wait to be taken, as far as there are places.
    _ = timeout(Duration::ZERO, accepting.accept()).await;
    shared.enter(Phase::Closing);
    let Accepting { connections, listener, router, .. } = accepting;
    drop((listener, router));
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    // All places are free once all connections have ended.
    _ = connections.acquire_many(all).await;
    tracing::info!("stopped");
    Ok(())
}

/// Why a model was not opened; waits forever where all were.
async fn failure(opened: oneshot::Receiver<Result<(), OpenError>>, shared: &Shared) -> ServerError {
    match opened.await {
        Ok(Ok(())) => {
            shared.enter(Phase::Ready);
            std::future::pending().await
        }
        Ok(Err(error)) => ServerError::Model(error),
        Err(_) => ServerError::Model("the thread that opens models has panicked".into()),
    }
}

struct Accepting {
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Accepting {
    /// Takes connections, as many as there may be; never ends by itself.
    async fn accept(&self) {
        // It is never closed.
        while let Ok(place) = Arc::clone(&self.connections).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let connection =
                        connection::serve(stream, self.router.clone(), Arc::clone(&self.shared));
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
