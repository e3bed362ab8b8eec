//! `[recharge]`: how payments are reported, and what they are worth.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::auth::KeySource;
use crate::values::Secret;

/// `[recharge]`: payments that stores and wallets report to `/v1/recharges/callbacks/…`; none until it is configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RechargeConfig {
    /// What products are paid out in, by its name in the catalog. Default: coin.
    pub asset: String,
    /// Of the products' prices. Default: CNY.
    pub currency: String,
    /// What is sold for money. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<ProductConfig>,
    /// Reports to `…/apple`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apple: Option<AppleConfig>,
    /// Reports to `…/wechat`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wechat: Option<WechatConfig>,
    /// Reports to `…/alipay`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alipay: Option<AlipayConfig>,
    /// Reports to `…/douyin`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub douyin: Option<DouyinConfig>,
    /// Servers of the same house, each at its own name. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hmac: Vec<HmacConfig>,
}

impl Default for RechargeConfig {
    fn default() -> Self {
        RechargeConfig {
            asset: "coin".into(),
            currency: "CNY".into(),
            products: Vec::new(),
            apple: None,
            wechat: None,
            alipay: None,
            douyin: None,
            hmac: Vec::new(),
        }
    }
}

/// `[[recharge.products]]`: a product, its price in the currency's smallest unit, and how much of the asset it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProductConfig {
    /// As the App Store calls it.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<u64>,
    pub amount: u64,
}

/// `[recharge.apple]`: signed transactions and notifications of the App Store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppleConfig {
    pub bundle_id: String,
    /// Production or Sandbox.
    pub environment: String,
    /// Apple's root certificates in PEM: Apple Root CA - G3.
    pub root_files: Vec<PathBuf>,
}

/// `[recharge.wechat]`: notifications of WeChat Pay, API v3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WechatConfig {
    pub merchant_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_v3_key: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_v3_key_file: Option<PathBuf>,
    /// The platform's keys or certificates, the present and the next one.
    pub keys: Vec<WechatKey>,
}

/// `[[recharge.wechat.keys]]`: one of the platform's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WechatKey {
    /// As `Wechatpay-Serial` names it.
    pub serial: String,
    pub file: PathBuf,
}

/// `[recharge.alipay]`: asynchronous notifications of Alipay, RSA2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AlipayConfig {
    pub app_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seller_id: Option<String>,
    /// Alipay's public key, not the app's.
    pub public_key_file: PathBuf,
}

/// `[recharge.douyin]`: callbacks of the trade system (with a platform key) and of guaranteed payment (with a token).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DouyinConfig {
    pub app_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// `[[recharge.hmac]]`: a channel of one's own, proven by a shared secret of at least 32 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HmacConfig {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

impl WechatConfig {
    pub fn api_v3_key(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.api_v3_key.as_ref(), self.api_v3_key_file.as_ref())
    }
}

impl DouyinConfig {
    pub fn token(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.token.as_ref(), self.token_file.as_ref())
    }
}

impl HmacConfig {
    pub fn secret(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.secret.as_ref(), self.secret_file.as_ref())
    }
}
