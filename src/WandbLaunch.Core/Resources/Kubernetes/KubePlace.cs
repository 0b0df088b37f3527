using System.Text.Json;
using System.Text.Json.Nodes;
using k8s;
using k8s.Exceptions;
using k8s.KubeConfigModels;
using WandbLaunch.Foundation;
using YamlDotNet.Core;

namespace WandbLaunch.Resources;

/// <summary>Which cluster, as which user: files of kubectl and a context of them, or the account of the pod that this runs in.</summary>
/// <param name="Config">The files, with the system's separator between; null in a cluster.</param>
/// <param name="Context">The context: written down, so that another choice of kubectl's later does not move a run.</param>
internal sealed record KubePlace(string? Config, string? Context)
{
    /// <summary>As it is written into a run's handle.</summary>
    public override string ToString() =>
        new JsonObject { ["config"] = Config, ["context"] = Context }.ToJsonString(
            new JsonSerializerOptions(JsonSerializerDefaults.Web)
        );

    internal static KubePlace Parse(string? text)
    {
        var map = JsonText.TolerantObject(text);
        return new KubePlace(map.Str("config"), map.Str("context"));
    }

    /// <summary>What was asked for, or what kubectl would take: KUBECONFIG, ~/.kube/config, the pod's account.</summary>
    /// <exception cref="LaunchException"><c>KubeConfigNotFound</c>, <c>KubeConfigInvalid</c>, <c>KubeContextNotFound</c>.</exception>
    internal static KubePlace Find(LaunchEnvironment environment, string? config, string? context)
    {
        var usual = Path.Combine(environment.Home, ".kube", "config");
        var files = config ?? environment["KUBECONFIG"] ?? (File.Exists(usual) ? usual : null);
        if (files is null)
        {
            return KubernetesClientConfiguration.IsInCluster() && context is null
                ? new KubePlace(null, null)
                : throw new LaunchException(
                    "KubeConfigNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"No cluster is set up: there is no {usual}, KUBECONFIG is not set, and this is no pod of a cluster. Give the file with -KubeConfig.",
                    usual
                );
        }

        files = string.Join(Path.PathSeparator, Split(files).Select(Path.GetFullPath));
        var chosen = context ?? Load(files).CurrentContext;
        return string.IsNullOrEmpty(chosen)
            ? throw new LaunchException(
                "KubeContextNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"{files} has no current context. Choose one with -KubeContext: {Contexts(Load(files))}.",
                files
            )
            : new KubePlace(files, chosen);
    }

    /// <summary>What the library connects with.</summary>
    /// <exception cref="LaunchException"><c>KubeConfigNotFound</c>, <c>KubeConfigInvalid</c>, <c>KubeContextNotFound</c>.</exception>
    internal KubernetesClientConfiguration Open()
    {
        if (Config is null)
        {
            return Guard("the pod's account", KubernetesClientConfiguration.InClusterConfig);
        }

        var all = Load(Config);
        if (all.Contexts.FirstOrDefault(c => c.Name == Context)?.ContextDetails is { User: { } name } details)
        {
            // A user without a login, as beside 'kubectl proxy': the library takes none, rather than an empty one.
            var user = all.Users.FirstOrDefault(u => u.Name == name)?.UserCredentials;
            if (user is not null && IsEmpty(user))
            {
                details.User = "";
            }
        }

        return all.Contexts.Any(c => c.Name == Context)
            ? Guard(Config, () => KubernetesClientConfiguration.BuildConfigFromConfigObject(all, Context))
            : throw new LaunchException(
                "KubeContextNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"{Config} has no context '{Context}'. Choose one with -KubeContext: {Contexts(all)}.",
                Context
            );
    }

    /// <summary>Names of the contexts, for completion.</summary>
    internal static IReadOnlyList<string> Contexts(LaunchEnvironment environment, string? config) =>
        [.. Load(Usual(environment, config)).Contexts.Select(c => c.Name)];

    /// <summary>Namespaces that contexts are in, for completion: asking the cluster for all of them would take too long.</summary>
    internal static IReadOnlyList<string> Namespaces(LaunchEnvironment environment, string? config) =>
        [
            .. Load(Usual(environment, config))
                .Contexts.Select(c => c.ContextDetails?.Namespace)
                .Where(n => !string.IsNullOrEmpty(n))
                .OfType<string>()
                .Distinct(),
        ];

    private static string Usual(LaunchEnvironment environment, string? config) =>
        config ?? environment["KUBECONFIG"] ?? Path.Combine(environment.Home, ".kube", "config");

    private static string Contexts(K8SConfiguration all) =>
        string.Join(", ", (all.Contexts ?? []).Select(c => c.Name).DefaultIfEmpty("it has none"));

    private static string[] Split(string files) =>
        files.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);

    private static K8SConfiguration Load(string files)
    {
        // Of several that KUBECONFIG names, kubectl passes over those that are not there.
        var all = Split(files).Select(f => new FileInfo(f)).ToList();
        var there = all.Where(f => f.Exists).ToArray();
        return there.Length == 0
            ? throw new LaunchException(
                "KubeConfigNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no {files}. Give the file of your cluster with -KubeConfig.",
                files
            )
            : Guard(files, () => there.Select(LoadOne).Aggregate(Merge));
    }

    // Files that it names are beside it.
    private static K8SConfiguration LoadOne(FileInfo file)
    {
        var all = KubernetesClientConfiguration.LoadKubeConfig(file);
        all.Clusters ??= [];
        all.Users ??= [];
        all.Contexts ??= [];
        foreach (var cluster in all.Clusters.Select(c => c.ClusterEndpoint).OfType<ClusterEndpoint>())
        {
            cluster.CertificateAuthority = Full(cluster.CertificateAuthority);
        }

        foreach (var user in all.Users.Select(u => u.UserCredentials).OfType<UserCredentials>())
        {
            user.ClientCertificate = Full(user.ClientCertificate);
            user.ClientKey = Full(user.ClientKey);
        }

        return all;

        string? Full(string? path) =>
            string.IsNullOrEmpty(path) ? path : Path.GetFullPath(path, file.DirectoryName ?? ".");
    }

    private static bool IsEmpty(UserCredentials user) =>
        user.ExternalExecution is null
        && user.AuthProvider is null
        && string.IsNullOrEmpty(user.Token + user.UserName + user.ClientCertificate + user.ClientCertificateData);

    // As kubectl does: of a name that several have, the first one counts.
    private static K8SConfiguration Merge(K8SConfiguration all, K8SConfiguration more)
    {
        if (string.IsNullOrEmpty(all.CurrentContext))
        {
            all.CurrentContext = more.CurrentContext;
        }

        all.Clusters = [.. all.Clusters.Concat(more.Clusters).DistinctBy(c => c.Name)];
        all.Users = [.. all.Users.Concat(more.Users).DistinctBy(u => u.Name)];
        all.Contexts = [.. all.Contexts.Concat(more.Contexts).DistinctBy(c => c.Name)];
        return all;
    }

    private static T Guard<T>(string files, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e)
            when (e
                    is KubeConfigException
                        or KubernetesClientException
                        or YamlException
                        or IOException
                        or UnauthorizedAccessException
                        or FormatException
                        or NotSupportedException
                        or ArgumentException
                        or NullReferenceException
                        or InvalidOperationException
                        or System.Security.Cryptography.CryptographicException
            )
        {
            throw new LaunchException(
                "KubeConfigInvalid",
                LaunchErrorCategory.InvalidData,
                $"{files} cannot be used: {e.Message} 'kubectl config view' shows what kubectl makes of it.",
                files,
                e
            );
        }
    }
}
