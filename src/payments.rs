//! Payment providers as they are configured. A key that cannot be read or used refuses to start.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use largesse_api::payments::alipay::{Alipay, AlipayOptions};
use largesse_api::payments::apple::{Apple, AppleOptions};
use largesse_api::payments::douyin::{Douyin, DouyinOptions};
use largesse_api::payments::hmac::{HmacChannel, HmacOptions};
use largesse_api::payments::wechat::{Wechat, WechatOptions};
use largesse_api::payments::{PaymentOptions, Product, Provider};
use largesse_config::{
    AlipayConfig, AppleConfig, DouyinConfig, HmacConfig, KeySource, ProductConfig, RechargeConfig, WechatConfig,
};
use largesse_engine::units::Amount;

use crate::exit::Failure;

pub fn options(config: &RechargeConfig) -> Result<PaymentOptions, Failure> {
    let mut providers: HashMap<String, Arc<dyn Provider>> = HashMap::new();
    if let Some(config) = &config.apple {
        providers.insert("apple".into(), Arc::new(apple(config)?));
    }
    if let Some(config) = &config.wechat {
        providers.insert("wechat".into(), Arc::new(wechat(config)?));
    }
    if let Some(config) = &config.alipay {
        providers.insert("alipay".into(), Arc::new(alipay(config)?));
    }
    if let Some(config) = &config.douyin {
        providers.insert("douyin".into(), Arc::new(douyin(config)?));
    }
    for channel in &config.hmac {
        providers.insert(channel.name.clone(), Arc::new(hmac(channel)?));
    }
    let products = config.products.iter().map(product).collect::<Result<_, _>>()?;
    Ok(PaymentOptions { asset: config.asset.clone(), currency: config.currency.clone(), products, providers })
}

fn product(config: &ProductConfig) -> Result<Product, Failure> {
    let amount = Amount::new(config.amount);
    let amount = amount.ok_or_else(|| told("products", format_args!("{} is no amount", config.amount)))?;
    Ok(Product { id: config.id.clone(), price: config.price, amount })
}

fn apple(config: &AppleConfig) -> Result<Apple, Failure> {
    let AppleConfig { bundle_id, environment, root_files } = config;
    let roots = root_files.iter().map(|path| read(path, "apple")).collect::<Result<_, _>>()?;
    let options = AppleOptions { bundle_id: bundle_id.clone(), environment: environment.clone(), roots };
    Apple::new(&options).map_err(|why| told("apple", why))
}

fn wechat(config: &WechatConfig) -> Result<Wechat, Failure> {
    let api_v3_key = secret(config.api_v3_key(), "wechat")?.unwrap_or_default();
    let keys = config.keys.iter().map(|key| Ok((key.serial.clone(), read(&key.file, "wechat")?)));
    let keys = keys.collect::<Result<_, Failure>>()?;
    let options = WechatOptions { merchant_id: config.merchant_id.clone(), api_v3_key, keys };
    Wechat::new(&options).map_err(|why| told("wechat", why))
}

fn alipay(config: &AlipayConfig) -> Result<Alipay, Failure> {
    let AlipayConfig { app_id, seller_id, public_key_file } = config;
    let public_key = read(public_key_file, "alipay")?;
    let options = AlipayOptions { app_id: app_id.clone(), seller_id: seller_id.clone(), public_key };
    Alipay::new(&options).map_err(|why| told("alipay", why))
}

fn douyin(config: &DouyinConfig) -> Result<Douyin, Failure> {
    let platform_key = config.platform_key_file.as_deref().map(|path| read(path, "douyin")).transpose()?;
    let token = secret(config.token(), "douyin")?;
    let options = DouyinOptions { app_id: config.app_id.clone(), platform_key, token };
    Douyin::new(&options).map_err(|why| told("douyin", why))
}

fn hmac(config: &HmacConfig) -> Result<HmacChannel, Failure> {
    let secret = secret(config.secret(), "hmac")?.unwrap_or_default();
    HmacChannel::new(HmacOptions { name: config.name.clone(), secret }).map_err(|why| told("hmac", why))
}

fn secret(source: Option<KeySource<'_>>, section: &str) -> Result<Option<String>, Failure> {
    let secret = source.map(KeySource::read).transpose().map_err(|error| told(section, error))?;
    Ok(secret.map(|secret| secret.expose().to_owned()))
}

fn read(path: &Path, section: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| told(section, format_args!("cannot read {}: {error}", path.display())))
}

fn told(section: &str, why: impl Display) -> Failure {
    Failure::new(format_args!("recharge.{section}: {why}"))
}
