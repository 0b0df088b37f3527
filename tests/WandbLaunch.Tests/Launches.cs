using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>What tests ask of launches and policies in one word.</summary>
internal static class Launches
{
    internal static readonly ResourceCatalog Resources = new(new LaunchContext());

    internal static LaunchedRun Get(this LaunchStore store, string id) =>
        store.GetAsync(id, default).GetAwaiter().GetResult();

    internal static IReadOnlyList<LaunchedRun> All(this LaunchStore store) =>
        store.AllAsync(_ => true, default).GetAwaiter().GetResult();

    /// <summary>The whole check of an item, as an agent makes it.</summary>
    internal static (LaunchConfig Config, IReadOnlyList<string> Volumes) CheckAll(
        this AgentPolicy policy,
        LaunchConfig config,
        string agentEntity,
        string targetEntity
    )
    {
        config = Resources.Canonical(config);
        var resource = Resources.Allowed(config, policy);
        policy.Check(config, agentEntity, targetEntity);
        (config, var options) = resource.ApplyPolicy(config, new LaunchOptions(), policy, new ItemContext(null));
        return (config, options.Volumes);
    }
}
