using System.Formats.Tar;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>Makes images with a run's code and packages in them, and brings them to a registry, for engines that fetch them from there.</summary>
internal interface IImageMaker
{
    /// <summary>The name of the image of a run: what is made of the same has the same.</summary>
    string ImageOf(ResourceRequest request, string repository);

    /// <summary>What the image of a run is made of, for whoever builds it elsewhere.</summary>
    ImagePlan PlanOf(ResourceRequest request);

    /// <summary>Adds a run's code to what an image is built of.</summary>
    Task AddCodeAsync(TarWriter writer, string workspace, string name, int owner, CancellationToken token);

    /// <summary>docker's config.json with its logins of this machine for the registries of some images, and of no others; null: there are none.</summary>
    Task<string?> LoginsAsync(IEnumerable<string> images, CancellationToken token);

    /// <summary>What the registry has under a name; null too where it cannot be asked.</summary>
    Task<RegistryImage?> FindAsync(string image, CancellationToken token);

    /// <summary>Makes it and brings it there, unless it is there.</summary>
    Task<BroughtImage> BringAsync(
        ResourceRequest request,
        string image,
        IProgress<Foundation.LaunchProgress> progress,
        CancellationToken token
    );
}

/// <summary>An image that a registry has.</summary>
/// <param name="Digest">What is known by it is this very content; null where the registry does not say.</param>
internal sealed record RegistryImage(string? Digest);

/// <summary>An image that was brought to its registry.</summary>
/// <param name="Digest">Its content's own name there, where the registry says it.</param>
/// <param name="Warning">What the user should know, such as packages that could not be installed.</param>
internal sealed record BroughtImage(string? Digest, string? Warning);

/// <summary>What the image of a run is made of.</summary>
/// <param name="BaseImage">What it stands on.</param>
/// <param name="UserId">Whose the code is.</param>
/// <param name="Dockerfile">Its base, without packages and code.</param>
/// <param name="Requirements">Its packages.</param>
internal sealed record ImagePlan(string BaseImage, int UserId, string Dockerfile, RequirementSet Requirements);
