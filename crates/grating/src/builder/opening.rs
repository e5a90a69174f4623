//! The model's files and what computes, opened as the settings say, and plans for devices that are not there.

use std::sync::Arc;

use grating_cpu::{CpuOps, Isa};
use grating_engine::{Engine, EngineOptions, current_rss_bytes};
use grating_io::Checkpoint;
use grating_model::{LoadedModel, Model};
use grating_prune::TokenPolicy;
use grating_sched::Plan;

use super::{RerankerBuilder, UNKNOWN_BASE, WrapStorage};
use crate::device::{self, Device, DeviceError, Opened, PlannedDevice};
use crate::error::{Error, Result};
use crate::files::{self, ModelFiles};
use crate::inspect::ModelInfo;
use crate::planning::Planning;
use crate::source::ModelSource;

impl RerankerBuilder {
    /// What computes; by default the processor. A CUDA device needs NVIDIA's driver and nothing else. [`Device::Auto`] takes
    /// the processor where none can be used, and says so in [`ModelInfo::warnings`]; [`Device::Cuda`] is an error there. [`Device::Metal`] needs macOS and a build with the
    /// feature `metal`; it computes in f32, in the host's memory.
    ///
    /// Written for CUDA and tested on an emulated device; not yet on a card. Metal has never been run by us.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Most bytes of the device's own memory, where it has one; what the driver takes for itself comes on top. By default
    /// nine tenths of what is free when the model is opened, and at most all of that. Where the processor or Metal computes
    /// it has no effect, which [`ModelInfo::warnings`] says; [`Self::plan_for`] plans within it, too.
    pub fn device_memory_budget(mut self, bytes: u64) -> Self {
        self.device_memory_budget = Some(bytes);
        self
    }

    /// The engine on what the settings say computes, in which types products are taken there, and what to say of the choice.
    pub(super) fn start(
        &self,
        (name, model, checkpoint): (String, Model, Checkpoint),
        isa: Isa,
        pool: &Arc<rayon::ThreadPool>,
        mut options: EngineOptions,
    ) -> Result<(Engine, String, Option<String>)> {
        let (device, budget) = (self.device, self.device_memory_budget);
        if device == Device::Metal {
            let (engine, products) = device::start_metal((name, model, checkpoint), options)?;
            return Ok((engine, products, idle(budget)));
        }
        let opened = device::open(device, budget, self.precision, &mut options.machine);
        match opened.map_err(DeviceError::from)? {
            Opened::Cuda(cuda) => {
                let products = cuda.products(model.matrix_formats());
                Ok((Engine::start(name, model, checkpoint, cuda, options)?, products, None))
            }
            Opened::Processor(reason) => {
                let cpu = CpuOps::new(isa, self.precision).with_threads(Arc::clone(pool));
                let products = cpu.products(model.matrix_formats());
                let engine = Engine::start(name, model, checkpoint, cpu, options)?;
                let said = |error| format!("the processor computes, no device can: {error}");
                Ok((engine, products, reason.map_or_else(|| idle(budget), |e| Some(said(e)))))
            }
        }
    }

    /// What [`Reranker::info`](crate::Reranker::info) would say of the model's files, without opening what computes.
    ///
    /// # Errors
    /// What is wrong with the model's files.
    pub fn info(&self) -> Result<ModelInfo> {
        let (files, loaded) = self.open_model(&self.model_source()?)?;
        Ok(ModelInfo::new(&files.name, &files.checkpoint, &loaded))
    }

    /// How a pool would be run on a machine with such a CUDA device, which need not be there, if no candidate is pruned. What
    /// becomes of long texts is the builder's to say ([`Self::long`]), and whether passages are compressed; as in
    /// [`Reranker::plan_long`](crate::Reranker::plan_long) otherwise.
    ///
    /// # Errors
    /// What is wrong with the model's files, a memory that is too small, or that no tokens may leave this model's texts.
    pub fn plan_for(
        self,
        device: &PlannedDevice,
        candidates: usize,
        tokens: usize,
    ) -> Result<Plan> {
        let source = self.model_source()?;
        let (files, loaded) = self.open_model(&source)?;
        let info = ModelInfo::new(&files.name, &files.checkpoint, &loaded);
        let memory = self.device_memory_budget.unwrap_or(device.memory).min(device.memory);
        let mut machine = PlannedDevice { memory, ..*device }.on(self.machine);
        machine.host.base += current_rss_bytes().unwrap_or(UNKNOWN_BASE);
        let LoadedModel { model, encoder, .. } = &loaded;
        let (compression, limit) = (model.compression(), info.max_length);
        let leaving =
            |pool, policy: &TokenPolicy| Ok(grating_engine::leaving(model, pool, policy)?);
        let long = self.long.clone().unwrap_or_default();
        let planning = Planning { encoder, compression, limit };
        let pool = planning.long((candidates, tokens), &long, leaving)?;
        let plan = grating_engine::plan_for(
            model,
            &files.checkpoint,
            &|widths, longest| device::cuda_workspace(widths, longest, self.precision),
            &pool,
            &machine,
            &self.settings,
        );
        Ok(plan?)
    }

    /// The model's files, and what is in them.
    pub(super) fn open_model(&self, source: &ModelSource) -> Result<(ModelFiles, LoadedModel)> {
        let mut files = files::open(source, |id, revision| self.fetch(id, revision))?;
        if let Some(WrapStorage(wrap)) = &self.storages {
            files.checkpoint = files.checkpoint.map_storages(|storage| wrap(storage));
        }
        let options = grating_model::LoadOptions::default()
            .max_tokens(self.max_length)
            .special_tokens_in_text(self.special_tokens_in_text)
            .refuse_long_query(self.refuse_long_query)
            .cutoff_layers(self.cutoff_layers)
            .compression(self.compression.resolve()?);
        let loaded = files.load(options).map_err(|source| Error::of_model(&files.name, source))?;
        Ok((files, loaded))
    }
}

/// What to say of a budget for a memory that no device has.
fn idle(budget: Option<u64>) -> Option<String> {
    let said = "the device memory budget has no effect: what computes is in the host's memory";
    budget.map(|_| said.into())
}
