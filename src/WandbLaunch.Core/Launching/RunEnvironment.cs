using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Launching;

/// <summary>The variables that W&amp;B's SDK finds in a run (protocol E.4), and those that the user gave.</summary>
internal sealed record RunEnvironment(
    Dictionary<string, string> Plain,
    Dictionary<string, string> Secret,
    string? Entity,
    string? AppUrl
)
{
    // One Linux environment string holds 128 KiB; Windows 32,767 characters. The SDK's own limit is below both (protocol E.4).
    private const int VariableLimit = 32670;

    internal static RunEnvironment Of(
        LaunchConfig config,
        LaunchOptions options,
        ResolvedRun resolved,
        string id,
        WandbConnection? server
    )
    {
        var entity = config.Entity ?? server?.Entity;
        var plain = new Dictionary<string, string>
        {
            ["WANDB_LAUNCH"] = "True",
            ["WANDB_RUN_ID"] = id,
            ["WANDB_PROJECT"] = resolved.Project.ToLowerInvariant(),
        };
        var secret = new Dictionary<string, string>();
        Set("WANDB_ENTITY", entity);
        Set("WANDB_BASE_URL", server?.BaseUrl);
        Set("WANDB_NAME", config.Name);
        if ((options.ApiKey ?? server?.ApiKey) is { } key)
        {
            secret["WANDB_API_KEY"] = key;
        }

        Chunk("WANDB_CONFIG", resolved.RunConfig.ToJsonString());
        var artifacts = config.Artifacts is null ? [] : (JsonObject)config.Artifacts.DeepClone();
        if (config.Job is not null)
        {
            artifacts["_wandb_job"] = config.Job;
        }

        Chunk("WANDB_ARTIFACTS", artifacts.ToJsonString());
        foreach (var (name, value) in options.Environment)
        {
            plain.Remove(name);
            secret.Remove(name);
            if (Secrets.IsSecretName(name))
            {
                secret[name] = Secrets.Register(value);
            }
            else
            {
                plain[name] = value;
            }
        }

        return new RunEnvironment(plain, secret, entity, server?.AppUrl);

        void Set(string name, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                plain[name] = value;
            }
        }

        void Chunk(string name, string json)
        {
            if (json.Length <= VariableLimit)
            {
                plain[name] = json;
                return;
            }

            for (var (at, part) = (0, 0); at < json.Length; at += VariableLimit, part++)
            {
                plain[$"{name}_{part}"] = json.Substring(at, Math.Min(VariableLimit, json.Length - at));
            }
        }
    }
}
