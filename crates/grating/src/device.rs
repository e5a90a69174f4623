//! What computes: this machine's processor, or a GPU.

use std::fmt;
use std::str::FromStr;

use grating_backend::{Precision, Widths, Workspace};
use grating_cuda::{CudaBackend, CudaOptions, DriverError, Nvidia};
use grating_engine::{Engine, EngineOptions};
use grating_io::Checkpoint;
use grating_model::Model;
use grating_sched::{Machine, Memory};

use crate::error::Result;

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor's cores.
    #[default]
    Cpu,
    /// The first CUDA device that can be used, or else the processor.
    Auto,
    /// A CUDA device by its number.
    Cuda(usize),
    /// The GPU of a Mac, in builds with the feature `metal`.
    Metal,
}

/// Text that names no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDevice(String);

impl fmt::Display for UnknownDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown device {:?}: use cpu, auto, cuda, cuda:N or metal", self.0)
    }
}

impl std::error::Error for UnknownDevice {}

impl FromStr for Device {
    type Err = UnknownDevice;

    /// ```
    /// use grating::Device;
    ///
    /// assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
    /// assert!("gpu".parse::<Device>().is_err());
    /// ```
    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        match name {
            "cpu" => Ok(Device::Cpu),
            "auto" => Ok(Device::Auto),
            "cuda" => Ok(Device::Cuda(0)),
            "metal" => Ok(Device::Metal),
            _ => name
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| UnknownDevice(name.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Auto => f.write_str("auto"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            Device::Metal => f.write_str("metal"),
        }
    }
}

/// Why a device that was asked for cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// CUDA's driver.
    #[error(transparent)]
    Cuda(#[from] DriverError),
    /// Only macOS has Metal.
    #[error("Metal is of macOS alone: compute on the CPU, or on a CUDA device")]
    NotMacOs,
    /// The feature `metal` is off.
    #[error("this build leaves Metal out: build it with `--features metal`, or compute on the CPU")]
    MetalNotBuilt,
    /// Metal has no device, or cannot use it.
    #[error("{reason}")]
    Metal {
        /// In its own words.
        reason: String,
    },
}

/// What the link to a device is taken for before the first request: a PCIe 4 slot of eight lanes.
const LINK_BYTES_PER_SECOND: f64 = 12e9;
/// What a device is taken to compute before the first request: a laptop's.
const FLOPS_PER_SECOND: f64 = 20e12;
/// What of the free memory is used where there is no budget: the rest is for the driver, and for who else draws on it.
const SHARE_OF_FREE: f64 = 0.9;

/// A machine with a device that need not be there, for [`RerankerBuilder::plan_for`](crate::RerankerBuilder::plan_for).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PlannedDevice {
    /// What may be used of the device's memory, bytes.
    pub memory: u64,
    /// From the host's memory to the device's.
    pub link_bytes_per_second: f64,
    /// What it computes.
    pub flops_per_second: f64,
    /// What the disk beside it reads.
    pub disk_bytes_per_second: f64,
}

impl PlannedDevice {
    /// So much memory, and a modest link and rate of computing.
    pub fn new(memory: u64) -> Self {
        PlannedDevice {
            memory,
            link_bytes_per_second: LINK_BYTES_PER_SECOND,
            flops_per_second: FLOPS_PER_SECOND,
            disk_bytes_per_second: Machine::default().disk_to_host.bytes_per_second,
        }
    }

    /// With these rates, both per second.
    #[must_use]
    pub const fn with_rates(self, link_bytes: f64, flops: f64) -> Self {
        PlannedDevice { link_bytes_per_second: link_bytes, flops_per_second: flops, ..self }
    }

    /// With a disk of this rate, per second.
    #[must_use]
    pub const fn with_disk(self, bytes: f64) -> Self {
        PlannedDevice { disk_bytes_per_second: bytes, ..self }
    }

    pub(crate) fn on(&self, machine: Machine) -> Machine {
        let memory = Memory::new("device memory").with_budget(self.memory);
        let mut machine = machine.with_device(memory, self.link_bytes_per_second);
        machine.flops_per_second = self.flops_per_second;
        machine.disk_to_host.bytes_per_second = self.disk_bytes_per_second;
        machine
    }
}

/// What a layer takes of a CUDA device's memory, beside weights and hidden states.
pub(crate) fn cuda_workspace(widths: &Widths, longest: usize, precision: Precision) -> Workspace {
    grating_cuda::workspace(widths, longest, precision)
}

/// What computes, as it was opened.
pub(crate) enum Opened {
    /// A CUDA device.
    Cuda(CudaBackend<Nvidia>),
    /// The processor; why, where [`Device::Auto`] found no device that can be used.
    Processor(Option<DriverError>),
}

/// The device that was asked for. `machine` is told of it.
pub(crate) fn open(
    device: Device,
    budget: Option<u64>,
    precision: Precision,
    machine: &mut Machine,
) -> Result<Opened, DriverError> {
    match device {
        Device::Cpu | Device::Metal => Ok(Opened::Processor(None)),
        Device::Cuda(number) => open_cuda(number, budget, precision, machine).map(Opened::Cuda),
        Device::Auto => {
            let open = |number| open_cuda(number, budget, precision, machine);
            let opened = first(grating_cuda::device_count(), open);
            Ok(opened.map_or_else(|error| Opened::Processor(Some(error)), Opened::Cuda))
        }
    }
}

/// The first of so many devices that can be used, or why the first of all cannot.
fn first<T>(
    count: Result<usize, DriverError>,
    mut open: impl FnMut(usize) -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    let mut failures = Vec::new();
    for number in 0..count? {
        match open(number) {
            Ok(opened) => return Ok(opened),
            Err(error) => failures.push(error),
        }
    }
    Err(failures.into_iter().next().unwrap_or(DriverError::NoDevice { device: 0, count: 0 }))
}

fn open_cuda(
    number: usize,
    budget: Option<u64>,
    precision: Precision,
    machine: &mut Machine,
) -> Result<CudaBackend<Nvidia>, DriverError> {
    let device = Nvidia::open(number)?;
    let (free, _) = grating_cuda::Driver::memory(&device)?;
    let budget = within(budget, free);
    let options = CudaOptions::default().with_precision(precision).with_memory_budget(Some(budget));
    let backend = CudaBackend::new(device, options)?;
    *machine = PlannedDevice::new(budget).on(*machine);
    Ok(backend)
}

/// What may be used of a device's memory: as was asked for, if that much is free.
fn within(budget: Option<u64>, free: u64) -> u64 {
    budget.map_or((free as f64 * SHARE_OF_FREE) as u64, |budget| budget.min(free))
}

/// A model on the GPU of a Mac, and in which types products are taken there.
#[cfg(all(feature = "metal", target_os = "macos"))]
pub(crate) fn start_metal(
    (name, model, checkpoint): (String, Model, Checkpoint),
    options: EngineOptions,
) -> Result<(Engine, String)> {
    let metal = grating_candle::CandleOps::metal();
    let metal = metal.map_err(|error| DeviceError::Metal { reason: error.to_string() })?;
    Ok((Engine::start(name, model, checkpoint, metal, options)?, "f32".into()))
}

#[cfg(not(all(feature = "metal", target_os = "macos")))]
pub(crate) fn start_metal(
    _model: (String, Model, Checkpoint),
    _options: EngineOptions,
) -> Result<(Engine, String)> {
    Err(match cfg!(target_os = "macos") {
        true => DeviceError::MetalNotBuilt.into(),
        false => DeviceError::NotMacOs.into(),
    })
}

/// What there is to compute on beside the processor, in words.
pub(crate) fn described() -> String {
    let cuda = found().unwrap_or_else(|error| error.to_string());
    match cfg!(all(feature = "metal", target_os = "macos")) {
        true => format!("metal; {cuda}"),
        false => cuda,
    }
}

/// CUDA devices, in words.
fn found() -> Result<String, DriverError> {
    let count = grating_cuda::device_count()?;
    let describe = |number| -> Result<String, DriverError> {
        let device = Nvidia::open(number)?;
        let (free, total) = grating_cuda::Driver::memory(&device)?;
        let name = grating_cuda::Driver::name(&device);
        let of = |bytes| grating_sched::mebibytes(bytes);
        Ok(format!("cuda:{number} {name}, {} free of {}", of(free), of(total)))
    };
    let devices: Vec<String> = (0..count)
        .map(|number| describe(number).unwrap_or_else(|error| format!("cuda:{number}: {error}")))
        .collect();
    match devices.is_empty() {
        true => Ok("a CUDA driver, and no device".into()),
        false => Ok(devices.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_device_that_can_be_used_is_taken_or_it_is_said_why_none_is() {
        let old = |number: usize| DriverError::TooOld {
            name: format!("card {number}"),
            major: 7,
            minor: 5,
        };
        let of = |usable: &[bool]| {
            let open = |number: usize| usable[number].then_some(number).ok_or_else(|| old(number));
            first(Ok(usable.len()), open)
        };
        assert_eq!(of(&[true, true]), Ok(0));
        assert_eq!(of(&[false, false, true]), Ok(2));
        assert_eq!(of(&[false, false]), Err(old(0)));
        assert_eq!(of(&[]), Err(DriverError::NoDevice { device: 0, count: 0 }));
        assert_eq!(first(Err(DriverError::NoDriver), Ok), Err(DriverError::NoDriver));
    }

    #[test]
    fn a_budget_is_no_more_than_what_is_free() {
        assert_eq!(within(None, 1000), 900);
        assert_eq!(within(Some(400), 1000), 400);
        assert_eq!(within(Some(4000), 1000), 1000);
    }

    #[test]
    fn devices_are_read_as_they_are_written() {
        let cuda = [0, 3].map(Device::Cuda);
        for device in [Device::Cpu, Device::Auto, Device::Metal].into_iter().chain(cuda) {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "metal:0"] {
            let error = wrong.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains("cuda:N"), "{error}");
        }
    }
}
